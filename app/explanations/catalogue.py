"""The models and methods that live workers announce, and the validation of requests against them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from app.contract.errors import FieldError, RiseError, invalid_field, unknown_choice
from app.contract.schemas import (
    Announcement,
    CanonicalRequest,
    ExplanationParams,
    ImageInfo,
    JsonObject,
    MethodCard,
    ModelCard,
    ModelRef,
    TargetRequest,
)

_FRESH_SECONDS = 0.5
_MAX_VALUES = 200  # in a parameter: each of them is checked, and no method needs more
_MAX_ERRORS = 20  # in one response


@dataclass(frozen=True)
class ResolvedRequest:
    """A request that live workers can serve.

    Attributes:
        request: with every default filled in.
        queue: of the workers that serve its model.
        workers: how many take jobs from the queue.
    """

    request: CanonicalRequest
    queue: str
    workers: int


@dataclass(frozen=True)
class Catalogue:
    """The announcements of all live workers, merged."""

    announcements: tuple[Announcement, ...]

    @cached_property
    def models(self) -> list[ModelCard]:
        """Every model, once; one that is ready somewhere is ready."""
        cards: dict[str, ModelCard] = {}
        for card in (card for worker in self.announcements for card in worker.models):
            if card.id not in cards or (card.state == "ready" and cards[card.id].state != "ready"):
                cards[card.id] = card
        return sorted(cards.values(), key=lambda card: card.id)

    @cached_property
    def methods(self) -> list[MethodCard]:
        """Every method, once; of two versions the one with fewer parameters, because either may get the job."""
        cards: dict[str, MethodCard] = {}
        for card in (card for worker in self.announcements for card in worker.methods):
            if card.id not in cards or len(_properties(card)) < len(_properties(cards[card.id])):
                cards[card.id] = card
        return sorted(cards.values(), key=lambda card: card.id)

    @property
    def fills(self) -> list[str]:
        """Every fill's name."""
        return sorted({fill for worker in self.announcements for fill in worker.fills})

    def resolve(self, params: ExplanationParams, parameters: JsonObject) -> ResolvedRequest:
        """Check a request against what live workers can do, and fill in every default.

        Args:
            params: what every method has.
            parameters: of one method.

        Raises:
            RiseError: for what no live worker can do.
        """
        model = self.ready_model(params.model)
        method = self.method_for(params, model)
        _check_targets(params, model)
        given = _with_default_fill(model, method, parameters)
        request = CanonicalRequest(
            model=ModelRef(id=model.id, digest=model.digest or ""),
            method=method.id,
            targets=params.targets,
            parameters=_clamp_masks(model, given, complete_parameters(method, given)),
        )
        return self.route(request)

    def route(self, request: CanonicalRequest) -> ResolvedRequest:
        """Return a request with the queue that it belongs to now.

        Raises:
            RiseError: `no-worker`.
        """
        queue = self.queue_of(request.model.id)
        return ResolvedRequest(request, queue, workers=max(1, sum(card.queue == queue for card in self.announcements)))

    def ready_model(self, model_id: str) -> ModelCard:
        """Return a model that some live worker serves.

        Raises:
            RiseError: `no-worker`, `unknown-name`, or `model-failed` with the reason.
        """
        if not self.announcements:
            raise RiseError("no-worker", "no worker is running; see GET /readyz")
        found = next((card for card in self.models if card.id == model_id), None)
        if found is None:
            raise unknown_choice("/model", model_id, [card.id for card in self.models])
        if found.state == "loading":
            raise RiseError("no-worker", f"model {model_id!r} is still loading")
        if found.state == "failed":
            raise RiseError("model-failed", f"model {model_id!r} does not load: {found.reason}")
        return found

    def addressed_model(self, model_id: str) -> ModelCard:
        """Return a model that is part of an address.

        Raises:
            RiseError: what `ready_model` raises, with `not-found` in the place of `unknown-name`.
        """
        try:
            return self.ready_model(model_id)
        except RiseError as error:
            if error.code == "unknown-name":
                raise RiseError("not-found", error.detail) from error
            raise

    def labels_of(self, model: ModelRef) -> list[str]:
        """Return the names of a model's classes, by index; empty where no live worker serves this digest."""
        cards = (card for worker in self.announcements for card in worker.models)
        return next((card.labels for card in cards if (card.id, card.digest) == (model.id, model.digest)), [])

    def queue_of(self, model_id: str) -> str:
        """Return the queue of the workers that serve a model.

        Raises:
            RiseError: `no-worker`.
        """
        for worker in self.announcements:
            if any(card.id == model_id and card.state == "ready" for card in worker.models):
                return worker.queue
        raise RiseError("no-worker", f"no worker serves model {model_id!r} any more")

    def method_for(self, params: ExplanationParams, model: ModelCard) -> MethodCard:
        """Return the requested method, or the default for the model's task."""
        suitable = [card for card in self.methods if model.task in card.tasks]
        if params.method is None:
            default = next((card for card in suitable if model.task in card.default_for), None)
            if default is None:  # because a newer worker may serve a task that this version does not know
                detail = f"no method explains model {model.id!r} here"
                raise RiseError("no-worker", detail, retry_after_seconds=5)
            return default
        found = next((card for card in self.methods if card.id == params.method), None)
        if found is None:
            raise unknown_choice("/method", params.method, [card.id for card in self.methods])
        if found not in suitable:
            choices = ", ".join(card.id for card in suitable)
            raise invalid_field("/method", f"{found.id} does not explain {model.task}; choose from: {choices}")
        return found


class CatalogueReader:
    """Reads the catalogue, at most every half second."""

    def __init__(self, read: Callable[[], list[Announcement]]) -> None:
        self._read = read
        self._catalogue = Catalogue(())
        self._read_at = -float("inf")

    def now(self) -> Catalogue:
        """Return the catalogue, at most half a second old."""
        if time.monotonic() - self._read_at > _FRESH_SECONDS:
            self._catalogue = Catalogue(tuple(self._read()))
            self._read_at = time.monotonic()
        return self._catalogue


def _properties(method: MethodCard) -> dict[str, JsonObject]:
    found: dict[str, JsonObject] = method.parameters["properties"]
    return found


def _with_default_fill(model: ModelCard, method: MethodCard, given: JsonObject) -> JsonObject:
    """Return the given parameters; where the request names no fill and the method has one, with the model's default."""
    if model.default_fill is None or "fill" not in _properties(method):
        return given
    return {"fill": model.default_fill, **given}


def complete_parameters(method: MethodCard, given: JsonObject) -> JsonObject:
    """Return the parameters of a method with its defaults filled in.

    Raises:
        RiseError: `unknown-name` or `invalid-parameters`, pointing at every field at fault.
    """
    properties = _properties(method)
    unknown = [name for name in given if name not in properties]
    if unknown:
        raise unknown_choice(
            f"/{unknown[0]}", unknown[0], ["image", "callback", *ExplanationParams.model_fields, *properties]
        )
    for name, value in given.items():
        if _has_more_values(value, _MAX_VALUES):
            raise invalid_field(f"/{name}", f"at most {_MAX_VALUES} values")
    parameters = {name: given.get(name, schema.get("default")) for name, schema in properties.items()}
    _check_parameters(method, given, parameters)
    return {name: _coerce_number(value, properties[name]) for name, value in parameters.items()}


def _check_parameters(method: MethodCard, given: JsonObject, parameters: JsonObject) -> None:
    """Validate all but a method's own defaults."""
    properties = {
        name: schema for name, schema in _properties(method).items() if name in given or "default" not in schema
    }
    validator = Draft202012Validator({**method.parameters, "properties": properties, "additionalProperties": True})
    errors = sorted(islice(validator.iter_errors(parameters), _MAX_ERRORS), key=lambda error: str(error.path))
    if errors:
        raise _invalid_parameters(errors)


def _has_more_values(value: Any, limit: int) -> bool:
    """Return whether a value holds more than `limit` values, without visiting all of them."""
    stack, count = [value], 0
    while stack:
        parts = stack.pop()
        if isinstance(parts, list | dict):
            count += len(parts)
            if count > limit:
                return True
            stack += parts.values() if isinstance(parts, dict) else parts
    return False


def _clamp_masks(model: ModelCard, given: JsonObject, parameters: JsonObject) -> JsonObject:
    """Return parameters within the operator's limit of masks for a model; a default is lowered to it.

    Raises:
        RiseError: `invalid-parameters` where a request asks for more masks.
    """
    limit = model.max_masks
    if limit is None or parameters["masks"] <= limit:
        return parameters
    if "masks" in given:
        raise invalid_field("/masks", f"at most {limit} for model {model.id!r}")
    return {**parameters, "masks": limit}


def _coerce_number(value: Any, schema: JsonObject) -> Any:
    """Return a number as the type of its schema, so that `1` and `1.0` are the same request."""
    types: dict[str, Callable[[Any], Any]] = {"number": float, "integer": int}
    kind = types.get(schema.get("type", ""))
    return value if kind is None or isinstance(value, bool) else kind(value)


def _invalid_parameters(errors: list[ValidationError]) -> RiseError:
    fields = [FieldError("/" + "/".join(map(str, error.path)), _message(error)) for error in errors]
    name = next((error for error in errors if _choices(error) is not None), None)
    if name is not None and len(errors) == 1 and isinstance(name.instance, str):
        return unknown_choice(fields[0].field, name.instance, _choices(name) or [])
    detail = "; ".join(f"{field.field.lstrip('/')}: {field.detail}" for field in fields)
    return RiseError("invalid-parameters", detail, errors=fields)


def _choices(error: ValidationError) -> list[str] | None:
    """Return the names that a field accepts; None where it accepts other values."""
    schema: Any = error.schema
    for option in [schema, *schema.get("anyOf", [])]:
        if "enum" in option:
            patterns = [part["pattern"] for part in schema.get("anyOf", []) if "pattern" in part]
            return [*option["enum"], *patterns]
    return None


def _message(error: ValidationError) -> str:
    if error.validator == "anyOf":
        return " or ".join(dict.fromkeys(_message(part) for part in error.context or [])) or error.message
    return error.message if len(error.message) < 200 else f"{error.message[:200]}..."


def check_boxes(request: CanonicalRequest, image: ImageInfo) -> None:
    """Check that every box of a request overlaps the upright image.

    Raises:
        RiseError: `invalid-parameters`.
    """
    targets = request.targets if isinstance(request.targets, list) else []
    for index, box in enumerate(target.box for target in targets):
        if box is not None and not (box[0] < image.width and box[1] < image.height and box[2] > 0 and box[3] > 0):
            detail = f"it lies outside of the image, which is {image.width} x {image.height} pixels when upright"
            raise invalid_field(f"/targets/{index}/box", detail)


def _check_targets(params: ExplanationParams, model: ModelCard) -> None:
    """Check the labels and boxes of a request against a model.

    Raises:
        RiseError: `unknown-name` for a label that it does not have, `invalid-parameters` for a target it cannot have.
    """
    if params.targets is None or isinstance(params.targets, str):
        return
    for index, target in enumerate(params.targets):
        _check_target(f"/targets/{index}", target, model)


def _check_target(field: str, target: TargetRequest, model: ModelCard) -> None:
    if target.label is None and target.box is None:
        raise invalid_field(field, "say a label or a box")
    if target.box is not None and model.task == "classification":
        raise invalid_field(f"{field}/box", "this model is a classifier: it has no boxes")
    if target.box is not None and (target.box[0] >= target.box[2] or target.box[1] >= target.box[3]):
        raise invalid_field(f"{field}/box", "write x0, y0, x1, y1 with x0 < x1 and y0 < y1: corners, not a width")
    if target.label is None:
        return
    known = target.label < len(model.labels) if isinstance(target.label, int) else target.label in model.labels
    if not known:
        raise unknown_choice(f"{field}/label", target.label, model.labels)
