"""Explanations as the JSON response of `:explain`: which map, how large.

The maps and numbers of one response are limited, however many images and targets a request has: maps beyond the limit
are omitted, their links stay, and sides shrink where the numbers would be too many.
"""

import base64
import math
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field, ValidationError, WithJsonSchema

from app.contract.errors import FieldError, RiseError, unknown_choice
from app.contract.saliency.geometry import Array
from app.contract.schemas import (
    ExplanationRecord,
    Failure,
    ImageInfo,
    JsonObject,
    ModelRef,
    Provenance,
    RequestModel,
    Status,
    StoredModel,
)
from app.explanations.views import TargetView, view
from app.rendering.formats import RenderedMap, RenderOptions, format_names, formats
from app.rendering.renderer import Renderer

MAX_MAPS = 100
MAX_NUMBERS = 2_000_000

_LIST, _NONE = "list", "none"
_LIST_SIDE, _FILE_SIDE = 64, 512
_DIGITS = 4  # of the strongest number of a map: more is noise

_NESTED = {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}
_SEVERAL = {"type": "array", "items": _NESTED, "description": "One map for each fill (`mc-rise`)."}
_FILE: JsonObject = {
    "type": "object",
    "properties": {"b64": {"type": "string", "contentEncoding": "base64"}},
    "required": ["b64"],
}
MapValues = Annotated[Any, WithJsonSchema({"anyOf": [_NESTED, _SEVERAL, _FILE, {"type": "null"}]})]
ErrorValues = Annotated[Any, WithJsonSchema({"anyOf": [_NESTED, _SEVERAL, {"type": "null"}]})]


class ResponseOptions(RequestModel):
    """The parameters of a request that say how its explanations are shown."""

    map: str = Field(
        _LIST, description="`list`: nested numbers; `none`; or a format whose file is sent as base64: `npy`, `png`, ..."
    )
    max_side: int | None = Field(
        None, ge=1, le=512, description="Longest side of a map in pixels; default: 64 as numbers, 512 as a file."
    )
    standard_error: bool = Field(False, description="Send the map's standard error too, as nested numbers.")
    wait: float | None = Field(
        None,
        ge=0,
        description="Seconds after which what is not finished is 504; default: 50, or what the operator says.",
    )


class TargetExplanation(TargetView):
    """One target with its map."""

    map: MapValues = Field(
        description="The score's change when a pixel becomes visible; null: see `error`, or `links`."
    )
    standard_error: ErrorValues = Field(None, description="Of the map, if asked for and known.")


class InstanceExplanation(StoredModel):
    """The explanation of one instance."""

    id: str = Field(description="The same instance and parameters have the same id.")
    status: Status
    model: ModelRef
    method: str
    parameters: JsonObject = Field(description="All of them, defaults filled in.")
    image: ImageInfo
    targets: list[TargetExplanation]
    error: Failure | None = Field(description="Why it has no maps.")
    provenance: Provenance | None
    links: dict[str, str] = Field(description="Addresses of this service; KServe's ingress does not lead to them.")


class ExplainResponse(StoredModel):
    """One explanation for each instance, in their order."""

    explanations: list[InstanceExplanation]


def read_response_options(parameters: JsonObject) -> tuple[ResponseOptions, JsonObject]:
    """Split parameters into those of the response and those of the explanation.

    Raises:
        RiseError: `invalid-parameters` or `unknown-name`.
    """
    own = {name: value for name, value in parameters.items() if name in ResponseOptions.model_fields}
    rest = {name: value for name, value in parameters.items() if name not in own}
    try:
        options = ResponseOptions.model_validate(own, strict=True)
    except ValidationError as cause:
        errors = [FieldError(f"/parameters/{error['loc'][0]}", error["msg"]) for error in cause.errors()]
        detail = "; ".join(f"{error.field.lstrip('/')}: {error.detail}" for error in errors)
        raise RiseError("invalid-parameters", detail, errors=errors) from cause
    if options.map not in {_LIST, _NONE, *format_names()}:
        raise unknown_choice("/parameters/map", options.map, [_LIST, _NONE, *format_names()])
    return options, rest


def build_response(
    records: Sequence[ExplanationRecord], renderer: Renderer, options: ResponseOptions
) -> ExplainResponse:
    """Return the response for explanations that have ended.

    Args:
        records: the explanations.
        renderer: renders their maps.
        options: how maps are presented.
    """
    remaining_maps = MAX_MAPS if options.map != _NONE or options.standard_error else 0
    side = _side(records, options)
    explanations = []
    for record in records:
        drawn = remaining_maps if record.status is Status.SUCCEEDED else 0
        explanations.append(_instance_explanation(record, renderer, options, side=side, most=drawn))
        remaining_maps -= min(drawn, len(record.targets))
    return ExplainResponse(explanations=explanations)


def _side(records: Sequence[ExplanationRecord], options: ResponseOptions) -> int:
    """Return the longest side of all maps: as requested, or less at the limit of numbers."""
    layers = [len(record.state.fills) for record in records if record.state for _ in record.targets][:MAX_MAPS]
    planes = max(1, sum(layers)) * (2 if options.standard_error else 1)
    requested = options.max_side or (_LIST_SIDE if options.map == _LIST else _FILE_SIDE)
    return max(1, min(requested, math.isqrt(MAX_NUMBERS // planes)))


def _instance_explanation(
    record: ExplanationRecord, renderer: Renderer, options: ResponseOptions, *, side: int, most: int
) -> InstanceExplanation:
    described = view(record, None)
    targets = [
        TargetExplanation(
            **target.model_dump(),
            **(_rendered(record, renderer, target, options, side) if index < most else {"map": None}),
        )
        for index, target in enumerate(described.targets)
    ]
    return InstanceExplanation.model_validate({**dict(described), "targets": targets})


def _rendered(
    record: ExplanationRecord, renderer: Renderer, target: TargetView, options: ResponseOptions, side: int
) -> JsonObject:
    """Return the map of a target, null where it has none, and its standard error if it is requested."""
    if target.error is not None:
        return {"map": None}
    return renderer.render_target(record, target.index, lambda sheet: _values(sheet, options), max_side=side)


def _values(sheet: RenderedMap, options: ResponseOptions) -> JsonObject:
    values: Any = None
    if options.map == _LIST:
        values = _rounded(sheet.drawn.values)
    elif options.map != _NONE:
        file: bytes = formats()[format_names()[options.map]].encode(sheet, RenderOptions())
        values = {"b64": base64.b64encode(file).decode()}
    error = sheet.drawn.standard_error if options.standard_error else None
    return {"map": values, "standard_error": None if error is None else _rounded(error)}


def _rounded(values: Array) -> Any:
    """Return `[K, H, W]` as nested lists, `[H][W]` of one fill, with a few digits of the strongest number."""
    strongest = float(np.abs(values).max())
    decimals = _DIGITS - 1 - math.floor(math.log10(strongest)) if strongest > 0 else 0
    layers = np.round(values.astype(np.float64), decimals).tolist()
    return layers[0] if len(layers) == 1 else layers
