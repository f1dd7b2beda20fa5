"""A batch as tasks with predictions to import into Label Studio, and the labelling interface that fits them.

The list of tasks is streamed; one image at a time is in memory.
"""

import json
from collections.abc import Iterable, Iterator
from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from app.batches.exports.explained_items import error_entry, iter_items
from app.batches.store import BatchItem, BatchRecord, BatchStore
from app.contract.errors import RiseError
from app.contract.explanations.store import ExplanationStore
from app.contract.schemas import ExplanationRecord, JsonObject
from app.contract.survey import SurveyReport
from app.label_studio_format.controls import LEVELS, Control, Label, LabelingConfig
from app.label_studio_format.predictions import PredictionContext, prediction_of, version_of
from app.rendering.renderer import Renderer

_COLORS = dict(zip(LEVELS, ("red", "orange"), strict=True))


def tasks_of(
    batch: BatchRecord,
    batches: BatchStore,
    store: ExplanationStore,
    renderer: Renderer,
    report: SurveyReport | None,
    *,
    prefix: str,
) -> Iterator[bytes]:
    """Yield a JSON list of tasks: one for each image with an explanation, with a prediction if it has succeeded.

    Args:
        report: of an annotated batch; then suspicious images come first, and all have their figures.
        prefix: precedes a file's name in the address at which Label Studio has it.
    """
    yield b"["
    first, figures = True, _figures(report) if report is not None else {}
    order = sorted(range(batch.total), key=lambda index: not figures.get(index, {}).get("suspicious", False))
    for item, record in iter_items(batch, batches, store, order):
        if record is not None:
            task = _task(item, record, renderer, prefix, figures.get(item.index, {}))
            yield (b"" if first else b",") + json.dumps(task).encode()
            first = False
    yield b"]"


def _figures(report: SurveyReport) -> dict[int, JsonObject]:
    """Return the figures of each image, by its index; of several labels, those of a suspicious one, or the first."""
    clusters = {place: cluster.place for cluster in reversed(report.clusters) for place in cluster.members}
    suspicious, found = report.suspicious_cases, dict[int, JsonObject]()
    for place, case in sorted(enumerate(report.cases), key=lambda pair: pair[0] not in suspicious):
        found.setdefault(
            case.index,
            {
                "label": case.label_name,
                "inside": case.inside,
                "background_alone": case.background_share,
                "suspicious": place in suspicious,
                "cluster": clusters.get(place),
            },
        )
    return found


def _task(
    item: BatchItem, record: ExplanationRecord, renderer: Renderer, prefix: str, figures: JsonObject
) -> JsonObject:
    address = item.source if item.kind == "url" else prefix + quote(item.name)
    data = {"image": address, "name": item.name, "explanation": record.id, **figures}
    if not record.is_answered:
        return {"data": data, "predictions": []}
    names = [target.name or str(target.label) for target in record.targets]
    context = PredictionContext(_labeling_config(names), {}, version_of(record.request))
    try:
        return {"data": data, "predictions": [prediction_of(record, renderer, context)]}
    except RiseError as error:
        return {"data": {**data, "error": error_entry(error)["detail"]}, "predictions": []}


def label_config_of(
    batch: BatchRecord, batches: BatchStore, store: ExplanationStore, *, labels: Iterable[str]
) -> bytes:
    """Return the labelling interface, XML, with every control and label that the tasks of a batch use.

    Args:
        labels: classes of the model, as far as they are known; those in the tasks are added.
    """
    targets = [target for _, record in iter_items(batch, batches, store) if record for target in record.targets]
    config = _labeling_config([*labels, *(target.name or str(target.label) for target in targets)])
    boxes = {target.box is not None for target in targets} or {True, False}
    view = Element("View")
    SubElement(view, "Image", name=config.image, value=f"${config.field}", zoom="true")
    if False in boxes:
        _add(view, "Choices", "Choice", config.choices)
    if True in boxes:
        _add(view, "RectangleLabels", "Label", config.rectangles)
    _add(view, "BrushLabels", "Label", config.brushes, colors=list(_COLORS.values()))
    indent(view)
    return tostring(view) + b"\n"


def _add(view: Element, kind: str, part: str, control: Control | None, *, colors: Iterable[str] = ()) -> None:
    assert control is not None
    tag = SubElement(view, kind, name=control.name, toName="image")
    for label in control.labels:
        SubElement(tag, part, value=label.value)
    for element, color in zip(tag, colors, strict=False):
        element.set("background", color)


def _labeling_config(names: Iterable[str]) -> LabelingConfig:
    classes = [Label(value=name, predicted=[]) for name in dict.fromkeys(names)]
    levels = [Label(value=f"{level} % of saliency", predicted=[]) for level in LEVELS]
    return LabelingConfig(
        image="image",
        field="image",
        choices=Control(name="class", labels=classes),
        rectangles=Control(name="box", labels=classes),
        brushes=Control(name="saliency", labels=levels),
    )
