"""What an annotator drew to ask about: a rectangle, and what speaks inside of it for what they say is there.

A detector is asked about the box itself, by D-RISE, also where it detects nothing there. A classifier has no boxes: its
answer is the part inside of the rectangle of the map for the annotator's class, or else for the top class. That is what
the model saw of the whole image. The rectangle cut out would be another image, on which it was never asked.
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
from app.integrations.label_studio.predict import COME_AGAIN_SECONDS, deadline_of
from app.label_studio_format.predictions import prediction_inside
from app.rendering.renderer import MapTarget, resolve_class, target_at

_FIELD = "/params/context/result/-/value"


class Rectangle(BaseModel):
    """A rectangle in percent of the image; what else a region of Label Studio's says is ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    x: float = Field(ge=-100, le=200)
    y: float = Field(ge=-100, le=200)
    width: float = Field(gt=0, le=200)
    height: float = Field(gt=0, le=200)
    rotation: float = Field(0.0, ge=-360, le=360)
    rectanglelabels: list[str] = Field(default_factory=list)


def box_of(drawn: Rectangle, image: ImageInfo) -> Box:
    """Return x0, y0, x1, y1 in pixels: the smallest upright box around a rectangle, cut off at the image's edge.

    Raises:
        RiseError: `invalid-parameters` where nothing of it is inside of the image.
    """
    left, top = drawn.x / 100 * image.width, drawn.y / 100 * image.height
    wide, high = drawn.width / 100 * image.width, drawn.height / 100 * image.height
    cosine, sine = math.cos(math.radians(drawn.rotation)), math.sin(math.radians(drawn.rotation))
    across, down = (wide * cosine, wide * sine), (-high * sine, high * cosine)  # it turns around its first corner
    corners = [(left + i * across[0] + j * down[0], top + i * across[1] + j * down[1]) for i in (0, 1) for j in (0, 1)]
    x0, x1 = (min(max(pick(x for x, _ in corners), 0.0), float(image.width)) for pick in (min, max))
    y0, y1 = (min(max(pick(y for _, y in corners), 0.0), float(image.height)) for pick in (min, max))
    if x1 - x0 < 1 or y1 - y0 < 1:
        raise invalid_field(_FIELD, "draw a rectangle inside of the image")
    return x0, y0, x1, y1


@dataclass(frozen=True)
class InteractiveRequest:
    """A rectangle that waits for its answer.

    Attributes:
        backend: who answers.
        errand: the task, with the usual question about it.
        content: its image.
        deadline: until when the annotator waits, on the monotonic clock.
    """

    backend: MlBackend
    errand: TaskJob
    content: bytes
    deadline: float

    async def explained(self, targets: list[JsonObject] | None) -> ExplanationRecord:
        """Return the finished explanation of targets, or of what the model sees by itself.

        Raises:
            RiseError: `busy` where it is not finished in time; or why it failed.
        """
        request = await self.backend.question(self.errand.request.model.id, targets)
        errand = self.errand.model_copy(update={"request": request})
        started = await self.backend.started(errand, self.content)
        record = await self.backend.ended(started, seconds=max(0.0, self.deadline - time.monotonic()))
        if (problem := failure_of(record)) is not None:
            raise problem
        if record is None or not record.status.ended:
            detail = "the explanation of this rectangle is not finished; draw it again in a while"
            raise RiseError("busy", detail, retry_after_seconds=COME_AGAIN_SECONDS)
        if record.error is not None:
            raise RiseError("no-target", record.error.detail)
        return record


async def answer_interactively(backend: MlBackend, errand: TaskJob, drawn: Rectangle) -> JsonObject:
    """Return the answer to a rectangle: brush masks.

    Where it is not finished in time, it goes on and is there for whoever draws the same again; but nothing is sent
    later, because a prediction belongs to a task and not to what somebody drew on it for a moment.

    Raises:
        RiseError: `busy` where it is not finished in time; or what is wrong.
    """
    if errand.layout.brushes is None:
        raise invalid_field("/label_config", "it needs BrushLabels to show an explanation with")
    asked = InteractiveRequest(backend, errand, await backend.image(errand), deadline_of(backend))
    image = (await backend.services.validator.validate(asked.content)).info
    box = box_of(drawn, image)
    card = await run_in_threadpool(_card, backend, errand)
    name = _class_meant(backend, errand, drawn, card)
    if card.task == "detection":
        record = await asked.explained([{"box": list(box), "label": name}])
        subject, box = target_at(record, 0), (0.0, 0.0, float(image.width), float(image.height))
    else:
        record, subject = await _of_class(asked, name, card)
    wording = backend.wording(errand)
    return await run_in_threadpool(prediction_inside, record, backend.services.renderer, wording, subject, box)


def _card(backend: MlBackend, errand: TaskJob) -> ModelCard:
    return backend.services.catalogue.now().ready_model(errand.request.model.id)


def _class_meant(backend: MlBackend, errand: TaskJob, drawn: Rectangle, card: ModelCard) -> str | None:
    """Return the class that the annotator says is in the rectangle; None where they say none that the model has."""
    control, table = errand.layout.rectangles, backend.services.settings.label_studio_labels
    if control is None or not drawn.rectanglelabels:
        return None
    return control.class_of(drawn.rectanglelabels[0], card.labels, table)


async def _of_class(
    asked: InteractiveRequest, name: str | None, card: ModelCard
) -> tuple[ExplanationRecord, MapTarget]:
    """Return the map of a class, or of the top class: from the usual explanation wherever that has it."""
    record = await asked.explained(None)
    if name is None:
        return record, target_at(record, 0)
    try:
        return record, resolve_class(record, name, card.labels)
    except RiseError as error:
        if error.code != "not-kept":
            raise
    record = await asked.explained([{"label": name}])
    return record, target_at(record, 0)
