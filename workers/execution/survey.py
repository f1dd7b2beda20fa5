"""The jobs of a survey: figures of a chunk of images, and the report over all chunks.

Both are pure functions of what is stored, and write one object each; so a job that is done twice, or again after its
worker was killed, changes nothing.
"""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from app.contract.errors import BlobNotFoundError, RiseError, StorageError
from app.contract.images.decoding import decode
from app.contract.saliency.geometry import Viewport, viewport_of_image
from app.contract.saliency.rendering import draw
from app.contract.schemas import ExplanationRecord, JsonObject, Status, TargetResult
from app.contract.storage.object_store import (
    BlobStore,
    annotations_blob,
    figures_blob,
    image_blob,
    survey_report_blob,
)
from app.contract.survey import (
    CHUNK,
    AnnotatedObject,
    AnnotationChunk,
    ImageAnnotation,
    LeftOut,
    SurveyCase,
    SurveyImage,
)
from workers.execution.run import JobContext, load_and_plan
from workers.explainer.visible_parts import PartScores, overlap, score_parts
from workers.saliency.similarity import OVERLAPPING
from workers.supervision.current_attempt import model_call
from workers.supervision.failures import is_retryable
from workers.survey.maps import MapFigures, measure_map
from workers.survey.regions import Region, box_around, hiding_mask, region_of

_SIDE = 192  # pixels of the longer side on which regions and maps are compared: maps are smooth between cells
_SEED = 0


@dataclass(frozen=True)
class MeasuredCase:
    """A case with its two small maps."""

    case: SurveyCase
    maps: MapFigures


@dataclass(frozen=True)
class _Subject:
    """One target of an explanation, with its objects."""

    target: TargetResult
    annotated: bool
    objects: Sequence[AnnotatedObject]
    region: Region


def write_figures(context: JobContext, batch_id: str, first: int, images: Sequence[SurveyImage]) -> None:
    """Measure a chunk of images, and store the figures.

    Args:
        context: what a job may use.
        batch_id: the batch.
        first: index of the chunk's first image.
        images: of the chunk.

    Raises:
        Exception: where another attempt may succeed.
    """
    chunk = AnnotationChunk.model_validate_json(context.blobs.get(annotations_blob(batch_id, first)))
    annotations = {annotation.index: annotation for annotation in chunk.images}
    measured: list[MeasuredCase] = []
    left_out: list[LeftOut] = []
    for image in images:
        try:
            measured += _measured(context, image, annotations.get(image.index))
        except RiseError as error:
            if isinstance(error, StorageError) or is_retryable(error):
                raise
            left_out.append(LeftOut(index=image.index, name=image.name, reason=error.detail))
    context.blobs.put(figures_blob(batch_id, first), _packed(measured, left_out))


def _measured(context: JobContext, image: SurveyImage, annotation: ImageAnnotation | None) -> list[MeasuredCase]:
    record = context.store.read(image.explanation) if image.explanation else None
    if record is None or record.status is not Status.SUCCEEDED or record.state is None:
        raise RiseError("not-ready", image.problem or _why_not(record))
    if annotation is None:
        raise RiseError("no-target", "it has no annotation")
    size = (record.image.width, record.image.height)
    if annotation.size not in {None, size}:
        width, height = annotation.size or size
        detail = f"it is annotated as {width} x {height} pixels, and has {size[0]} x {size[1]} when upright"
        raise RiseError("invalid-parameters", detail)
    try:
        return _measured_targets(context, image, record, annotation)
    except BlobNotFoundError as cause:
        raise RiseError("expired", "its image or map is gone") from cause


def _why_not(record: ExplanationRecord | None) -> str:
    if record is None:
        return "its explanation is gone"
    return record.error.detail if record.error else f"its explanation is {record.status.value}"


def _measured_targets(
    context: JobContext, image: SurveyImage, record: ExplanationRecord, annotation: ImageAnnotation
) -> list[MeasuredCase]:
    assert record.state is not None
    frame = viewport_of_image(*(record.image.width, record.image.height), max_side=_SIDE)
    subjects = [_subject(target, annotation, frame) for target in record.targets if target.error is None]
    if not subjects:
        return []
    model, plan = load_and_plan(context, record, decode(context.blobs.get(image_blob(record.id))))
    hiding = np.stack([hiding_mask(subject.region) for subject in subjects])
    with model_call(model.id):
        scores = score_parts(plan, [subject.target.index for subject in subjects], hiding, frame)
    names = [checkpoint.blob for checkpoint in record.state.checkpoints]
    cases = []
    for place, subject in enumerate(subjects):
        row = record.state.target_rows[subject.target.index]
        arrays = context.blobs.get_arrays(names)
        values = draw(record.state, arrays, row, frame).values[0]
        maps = measure_map(values, frame, subject.region, box_around(subject.objects))
        cases.append(MeasuredCase(_case(image, record, subject, maps, scores, place), maps))
    return cases


def _subject(target: TargetResult, annotation: ImageAnnotation, frame: Viewport) -> _Subject:
    """Return a target with its objects.

    Those of a class are all of its label, or all objects where the image has none of it; that of a detection is the
    object of its label that it overlaps by half, or what is in its own box.
    """
    own = [item for item in annotation.objects if item.label == target.label]
    others: Sequence[AnnotatedObject] = annotation.objects
    if (box := target.box) is not None:
        own = sorted(own, key=lambda item: overlap(item.box, box))[-1:]
        own = [item for item in own if overlap(item.box, box) >= OVERLAPPING]
        others = [AnnotatedObject(label=target.label or 0, box=box)]
    objects = own or others
    return _Subject(target, bool(own), objects, region_of(objects, frame))


def _case(
    image: SurveyImage,
    record: ExplanationRecord,
    subject: _Subject,
    maps: MapFigures,
    scores: PartScores,
    place: int,
) -> SurveyCase:
    target, predicted = subject.target, scores.predicted[place]
    return SurveyCase(
        index=image.index,
        name=image.name,
        explanation=record.id,
        target=target.index,
        label=target.label or 0,
        label_name=target.name or str(target.label),
        of_detection=target.box is not None,
        predicted=predicted.name if predicted else None,
        annotated=subject.annotated,
        recognised=predicted is not None and predicted.label == target.label,
        box=box_around(subject.objects),
        inside=maps.inside,
        area=maps.area,
        hit=maps.hit,
        whole=float(scores.whole[place]),
        objects_alone=float(scores.objects[place]),
        background_alone=float(scores.background[place]),
        nothing=float(scores.nothing[place]),
        reliability=target.reliability,
        fidelity=target.evidence.fidelity if target.evidence else None,
    )


def _packed(measured: Sequence[MeasuredCase], left_out: Sequence[LeftOut]) -> bytes:
    rows = {
        "cases": [each.case.model_dump(mode="json") for each in measured],
        "left_out": [each.model_dump(mode="json") for each in left_out],
    }
    buffer = io.BytesIO()
    np.savez(
        buffer,
        rows=np.frombuffer(json.dumps(rows).encode(), dtype=np.uint8),
        picture=np.asarray([each.maps.picture for each in measured], dtype=np.float32),
        around=np.asarray([each.maps.around for each in measured], dtype=np.float32),
    )
    return buffer.getvalue()


def write_report(context: JobContext, batch_id: str, total: int) -> None:
    """Build the report from the figures of all chunks, and store it.

    Args:
        context: what a job may use.
        batch_id: the batch.
        total: images that it has.

    Raises:
        RiseError: `unavailable` where scikit-learn is not installed.
    """
    try:
        from workers.survey.report import CaseMaps, build_report  # noqa: PLC0415 - an extra
    except ImportError as cause:
        detail = "the report needs scikit-learn on the workers: pip install 'rise-serve[survey]'"
        raise RiseError("unavailable", detail) from cause
    rows: list[JsonObject] = []
    left_out: list[LeftOut] = []
    pictures, around = [], []
    for arrays in _chunks(context.blobs, batch_id, total):
        found = json.loads(arrays["rows"].tobytes())
        if found["cases"]:
            rows += found["cases"]
            pictures.append(arrays["picture"])
            around.append(arrays["around"])
        left_out += [LeftOut.model_validate(each) for each in found["left_out"]]
    empty = [np.zeros((0, 16, 16), dtype=np.float32)]
    maps = CaseMaps(np.concatenate(pictures or empty), np.concatenate(around or empty))
    report = build_report([SurveyCase.model_validate(row) for row in rows], maps, left_out, seed=_SEED)
    context.blobs.put(survey_report_blob(batch_id), report.model_dump_json().encode())


def _chunks(blobs: BlobStore, batch_id: str, total: int) -> Iterator[dict[str, np.ndarray]]:
    for first in range(0, total, CHUNK):
        with np.load(io.BytesIO(blobs.get(figures_blob(batch_id, first))), allow_pickle=False) as arrays:
            yield dict(arrays)
