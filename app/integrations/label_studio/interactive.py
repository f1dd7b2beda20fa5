"""Interactive explanations: masks of what supports a class inside of a rectangle that an annotator draws.

For a detector the target is the box itself (D-RISE), also where it detects nothing there. A classifier has no boxes:
the map of the annotator's class, or else of the top class, is cropped to the rectangle. It is the map of the whole
image, because the crop would be another image with other scores.
"""

import math
import time
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from app.contract.errors import RiseError, invalid_field
from app.contract.schemas import Box, ExplanationRecord, ImageInfo, JsonObject, ModelCard
from app.explanations.service import failure_of
from app.integrations.label_studio.backend import MlBackend, TaskJob
from app.integrations.label_studio.predict import RETRY_AFTER_SECONDS, deadline_of
from app.label_studio_format.predictions import prediction_inside
from app.rendering.renderer import MapTarget, resolve_class, target_at

_FIELD = "/params/context/result/-/value"


class Rectangle(BaseModel):
    """A rectangle in percent of the image; the other fields of a region are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    x: float = Field(ge=-100, le=200)
    y: float = Field(ge=-100, le=200)
    width: float = Field(gt=0, le=200)
    height: float = Field(gt=0, le=200)
    rotation: float = Field(0.0, ge=-360, le=360)
    rectanglelabels: list[str] = Field(default_factory=list)


def box_of(rectangle: Rectangle, image: ImageInfo) -> Box:
    """Return x0, y0, x1, y1 in pixels: the smallest upright box around a rectangle, cut off at the image's edge.

    Raises:
        RiseError: `invalid-parameters` where nothing of it is inside of the image.
    """
    left, top = rectangle.x / 100 * image.width, rectangle.y / 100 * image.height
    wide, high = rectangle.width / 100 * image.width, rectangle.height / 100 * image.height
    cosine, sine = math.cos(math.radians(rectangle.rotation)), math.sin(math.radians(rectangle.rotation))
    across, down = (wide * cosine, wide * sine), (-high * sine, high * cosine)  # it is rotated around its first corner
    corners = [(left + i * across[0] + j * down[0], top + i * across[1] + j * down[1]) for i in (0, 1) for j in (0, 1)]
    x0, x1 = (min(max(pick(x for x, _ in corners), 0.0), float(image.width)) for pick in (min, max))
    y0, y1 = (min(max(pick(y for _, y in corners), 0.0), float(image.height)) for pick in (min, max))
    if x1 - x0 < 1 or y1 - y0 < 1:
        raise invalid_field(_FIELD, "draw a rectangle inside of the image")
    return x0, y0, x1, y1


@dataclass(frozen=True)
class InteractiveRequest:
    """A request of an annotator who waits for the response.

    Attributes:
        backend: that handles it.
        job: the task with its default request.
        content: its image.
        deadline: until when the response may take, on the monotonic clock.
    """

    backend: MlBackend
    job: TaskJob
    content: bytes
    deadline: float

    async def explain(self, targets: list[JsonObject] | None) -> ExplanationRecord:
        """Return the finished explanation of targets; None: of the default ones.

        Raises:
            RiseError: `busy` where it is not finished in time; or why it failed.
        """
        resolved = await self.backend.resolve(self.job.request.model.id, targets)
        job = self.job.model_copy(update={"request": resolved})
        submitted = await self.backend.submit(job, self.content)
        record = await self.backend.wait(submitted, seconds=max(0.0, self.deadline - time.monotonic()))
        if (error := failure_of(record)) is not None:
            raise error
        if record is None or not record.status.ended:
            detail = "the explanation of this rectangle is not finished; draw it again in a while"
            raise RiseError("busy", detail, retry_after_seconds=RETRY_AFTER_SECONDS)
        if record.error is not None:
            raise RiseError("no-target", record.error.detail)
        return record


async def explain_rectangle(backend: MlBackend, job: TaskJob, rectangle: Rectangle) -> JsonObject:
    """Return brush masks for a rectangle.

    What is not finished in time goes on, and the same rectangle finds it; but nothing is pushed later, because
    predictions belong to tasks and not to temporary regions.

    Raises:
        RiseError: `busy` where it is not finished in time; or what is wrong.
    """
    if job.layout.brushes is None:
        raise invalid_field("/label_config", "it needs BrushLabels to show an explanation with")
    request = InteractiveRequest(backend, job, await backend.fetch_image(job), deadline_of(backend))
    image = (await backend.services.validator.validate(request.content)).info
    box = box_of(rectangle, image)
    card = await run_in_threadpool(_model_card, backend, job)
    name = _labelled_class(backend, job, rectangle, card)
    if card.task != "classification":
        record = await request.explain([{"box": list(box), "label": name}])
        target, box = target_at(record, 0), (0.0, 0.0, float(image.width), float(image.height))
    else:
        record, target = await _explain_class(request, name, card)
    context = backend.context(job)
    return await run_in_threadpool(prediction_inside, record, backend.services.renderer, context, target, box)


def _model_card(backend: MlBackend, job: TaskJob) -> ModelCard:
    return backend.services.catalogue.now().ready_model(job.request.model.id)


def _labelled_class(backend: MlBackend, job: TaskJob, rectangle: Rectangle, card: ModelCard) -> str | None:
    """Return the class of the rectangle's label; None where the model has no such class."""
    control, table = job.layout.rectangles, backend.services.settings.label_studio_labels
    if control is None or not rectangle.rectanglelabels:
        return None
    return control.class_of(rectangle.rectanglelabels[0], card.labels, table)


async def _explain_class(
    request: InteractiveRequest, name: str | None, card: ModelCard
) -> tuple[ExplanationRecord, MapTarget]:
    """Return the target of a class, or of the top class: from the default explanation where that has it."""
    record = await request.explain(None)
    if name is None:
        return record, target_at(record, 0)
    try:
        return record, resolve_class(record, name, card.labels)
    except RiseError as error:
        if error.code != "not-kept":
            raise
    record = await request.explain([{"label": name}])
    return record, target_at(record, 0)
