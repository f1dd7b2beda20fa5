"""The body of an invocation: an image in base64, a threshold, and the points and box of an annotator."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.api.base64_text import decode_base64
from app.api.request_body import parse_json_object
from app.contract.errors import FieldError, RiseError, invalid_field
from app.contract.schemas import Box, ImageInfo

_MAX_COORDINATE = 1_000_000.0
_MAX_POINTS = 1000

_Side = Annotated[float, Field(ge=-_MAX_COORDINATE, le=_MAX_COORDINATE, allow_inf_nan=False)]
_Point = tuple[_Side, _Side]


class InvocationRequest(BaseModel):
    """The fields that are read; CVAT sends more, for other kinds of functions.

    Attributes:
        image: a file.
        threshold: minimum score; None for the default.
        pos_points: where the annotator has clicked.
        obj_bbox: two corners of the box that the annotator has drawn.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    image: bytes
    threshold: float | None = Field(None, ge=0, le=1)
    pos_points: list[_Point] | None = Field(None, max_length=_MAX_POINTS)
    obj_bbox: tuple[_Point, _Point] | None = None

    def box(self, image: ImageInfo) -> Box:
        """Return x0, y0, x1, y1 in pixels, clipped to the image.

        Older versions of CVAT send the corners among the points.

        Raises:
            RiseError: `invalid-parameters` where there is no box inside of the image.
        """
        corners = self.obj_bbox or self.pos_points or []
        across = [min(max(x, 0.0), float(image.width)) for x, _ in corners]
        down = [min(max(y, 0.0), float(image.height)) for _, y in corners]
        if not corners or max(across) - min(across) < 1 or max(down) - min(down) < 1:
            raise invalid_field("/obj_bbox", "draw a box inside of the image")
        return min(across), min(down), max(across), max(down)


def read_invocation(content: bytes) -> InvocationRequest:
    """Read a body.

    Raises:
        RiseError: `malformed-request`, or `invalid-parameters` pointing at the field at fault.
    """
    fields = parse_json_object(content)
    fields["image"] = _decode_image(fields.get("image"))
    try:
        return InvocationRequest.model_validate(fields)
    except ValidationError as cause:
        errors = [FieldError("/" + "/".join(map(str, error["loc"])), error["msg"]) for error in cause.errors()[:10]]
        detail = "; ".join(f"{error.field.lstrip('/')}: {error.detail}" for error in errors)
        raise RiseError("invalid-parameters", detail, errors=errors) from cause


def _decode_image(text: object) -> bytes:
    if not isinstance(text, str) or not text:
        raise invalid_field("/image", "send an image in base64")
    try:
        return decode_base64(text)
    except ValueError as cause:
        raise invalid_field("/image", "this is not base64") from cause
