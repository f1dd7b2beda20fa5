"""A batch as tasks with predictions to import into Label Studio, and the labelling interface that fits them.

Tasks are made while they are sent: one image at a time is in memory.
"""

import json
from collections.abc import Iterable, Iterator
from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from app.batches.store import BatchItem, BatchRecord, BatchStore
from app.batches.zip_export import error_entry, iter_items
from app.contract.errors import RiseError
from app.contract.explanations.store import ExplanationStore
from app.contract.schemas import ExplanationRecord, JsonObject
from app.label_studio_format.controls import LEVELS, Control, Label, LabelingConfig
from app.label_studio_format.predictions import PredictionContext, prediction_of, version_of
from app.rendering.renderer import Renderer

_COLORS = dict(zip(LEVELS, ("red", "orange"), strict=True))


def tasks_of(
    batch: BatchRecord, batches: BatchStore, store: ExplanationStore, renderer: Renderer, *, prefix: str
) -> Iterator[bytes]:
    """Yield a JSON list of tasks: one for each image that was taken, with a prediction where it has one.

    Args:
        prefix: what stands before the name of a file to make the address at which Label Studio has it.
    """
    yield b"["
    first = True
    for member, record in iter_items(batch, batches, store):
        if record is not None:
            yield (b"" if first else b",") + json.dumps(_task(member, record, renderer, prefix)).encode()
            first = False
    yield b"]"


def _task(member: BatchItem, record: ExplanationRecord, renderer: Renderer, prefix: str) -> JsonObject:
    address = member.source if member.kind == "url" else prefix + quote(member.name)
    data = {"image": address, "name": member.name, "explanation": record.id}
    if not record.tells:
        return {"data": data, "predictions": []}
    names = [target.name or str(target.label) for target in record.targets]
    wording = PredictionContext(_layout(names), {}, version_of(record.request))
    try:
        return {"data": data, "predictions": [prediction_of(record, renderer, wording)]}
    except RiseError as error:
        return {"data": {**data, "error": error_entry(error)["detail"]}, "predictions": []}


def label_config_of(
    batch: BatchRecord, batches: BatchStore, store: ExplanationStore, *, labels: Iterable[str]
) -> bytes:
    """Return the labelling interface, XML, that has a place and a label for everything in the tasks of a batch.

    Args:
        labels: classes of the model, as far as they are known; those in the tasks are added.
    """
    targets = [target for _, record in iter_items(batch, batches, store) if record for target in record.targets]
    layout = _layout([*labels, *(target.name or str(target.label) for target in targets)])
    boxes = {target.box is not None for target in targets} or {True, False}
    view = Element("View")
    SubElement(view, "Image", name=layout.image, value=f"${layout.field}", zoom="true")
    if False in boxes:
        _add(view, "Choices", "Choice", layout.choices)
    if True in boxes:
        _add(view, "RectangleLabels", "Label", layout.rectangles)
    _add(view, "BrushLabels", "Label", layout.brushes, colors=list(_COLORS.values()))
    indent(view)
    return tostring(view) + b"\n"


def _add(view: Element, kind: str, part: str, control: Control | None, *, colors: Iterable[str] = ()) -> None:
    assert control is not None
    tag = SubElement(view, kind, name=control.name, toName="image")
    for label in control.labels:
        SubElement(tag, part, value=label.value)
    for element, color in zip(tag, colors, strict=False):
        element.set("background", color)


def _layout(names: Iterable[str]) -> LabelingConfig:
    classes = [Label(value=name, predicted=[]) for name in dict.fromkeys(names)]
    levels = [Label(value=f"{level} % of saliency", predicted=[]) for level in LEVELS]
    return LabelingConfig(
        image="image",
        field="image",
        choices=Control(name="class", labels=classes),
        rectangles=Control(name="box", labels=classes),
        brushes=Control(name="saliency", labels=levels),
    )
