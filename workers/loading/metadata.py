"""What a model file says about itself in text, read into an entry: the operator's word comes first.

Read are `task`, `labels` (a JSON list), `preprocessing` and `outputs` (JSON objects with the fields of the models
file), and what Ultralytics writes: `task` (`classify`, `detect`, `segment`, `pose`), `names`, `imgsz`, `description`
(of an RT-DETR), `kpt_shape`, and `end2end` or `args` where the model drops doubles itself.
"""

import ast
import json
import math
from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from app.contract.schemas import JsonObject, RequestModel, Task
from workers.loading.labels import class_names
from workers.model_io.model_entry import ModelEntry

Metadata = Mapping[str, str]
Part = TypeVar("Part", bound=RequestModel)

_TASKS: dict[str, Task] = {task: task for task in get_args(Task)}
_ULTRALYTICS_TASKS: dict[str, Task] = {
    "classify": "classification",
    "detect": "detection",
    "segment": "detection",
    "pose": "detection",
}
_REFUSED = {"obb": "its boxes are rotated, and D-RISE compares upright ones"}


def merge_metadata(entry: ModelEntry, metadata: Metadata) -> ModelEntry:
    """Return the entry with what it leaves open taken from the file's own words.

    Args:
        entry: what the models file says.
        metadata: texts of the model file by their keys; unknown keys are ignored.

    Raises:
        ValueError: naming the key whose text cannot be read.
    """
    pictures, outputs = _ultralytics(metadata)
    return entry.model_copy(
        update={
            "task": entry.task or _task(metadata),
            "labels": entry.labels or _labels(metadata),
            "preprocessing": _merged(entry.preprocessing, {**pictures, **_object(metadata, "preprocessing")}),
            "outputs": _merged(entry.outputs, {**outputs, **_object(metadata, "outputs")}),
        }
    )


def _task(metadata: Metadata) -> Task | None:
    said = metadata.get("task")
    if said is None:
        return None
    known = _TASKS | _ULTRALYTICS_TASKS
    if said in _REFUSED:
        raise ValueError(f"task: the file says {said!r}, which cannot be explained: {_REFUSED[said]}")
    if said not in known:
        raise ValueError(f"task: the file says {said!r}, which cannot be explained; known are {', '.join(known)}")
    return known[said]


def _labels(metadata: Metadata) -> list[str] | None:
    for key in ("labels", "names"):
        if key in metadata:
            return _names_under(metadata, key)
    return None


def _names_under(metadata: Metadata, key: str) -> list[str]:
    try:
        return class_names(_literal(metadata, key))
    except ValueError as cause:
        raise ValueError(f"labels: what the file says as {key}: {cause}") from cause


def _ultralytics(metadata: Metadata) -> tuple[JsonObject, JsonObject]:
    """Return preprocessing and outputs of a model with the metadata that Ultralytics writes; else nothing."""
    task = metadata.get("task")
    if task not in _ULTRALYTICS_TASKS or "imgsz" not in metadata:
        return {}, {}
    size = _literal(metadata, "imgsz")
    if task == "classify":
        return {"size": size, "resize": "crop"}, {}
    # Because its RT-DETR is fed pictures stretched to the size, and all its other detectors letterboxed ones.
    stretched = "rtdetr" in metadata.get("description", "").lower().replace("-", "")
    pictures = {"size": size, "resize": "stretch" if stretched else "letterbox"}
    outputs: JsonObject = {"activation": "probabilities", "background": "none"}
    if task == "pose":
        outputs["extra_columns"] = math.prod(_literal(metadata, "kpt_shape"))
    if _is_suppressed(metadata):
        return pictures, {**outputs, "packed": "boxes-score-label", "box_format": "xyxy", "columns_first": False}
    return pictures, {**outputs, "packed": "boxes-scores", "box_format": "cxcywh", "columns_first": not stretched}


def _is_suppressed(metadata: Metadata) -> bool:
    """Return whether the model drops doubles itself."""
    arguments = _literal(metadata, "args") if "args" in metadata else {}
    suppressed = isinstance(arguments, dict) and bool(arguments.get("nms"))
    return suppressed or metadata.get("end2end", "").lower() == "true"


def _literal(metadata: Metadata, key: str) -> Any:
    """Return numbers, names, lists and dictionaries as JSON or Python writes them."""
    try:
        return ast.literal_eval(metadata[key])
    except (ValueError, SyntaxError, MemoryError, RecursionError) as cause:
        raise ValueError(f"what the file says as {key} cannot be read: {metadata[key][:80]!r}") from cause


def _object(metadata: Metadata, key: str) -> JsonObject:
    if key not in metadata:
        return {}
    try:
        value = json.loads(metadata[key])
    except ValueError as cause:
        raise ValueError(f"what the file says as {key} is no JSON: {cause}") from cause
    if not isinstance(value, dict):
        raise ValueError(f"what the file says as {key} is no JSON object")
    return value


def _merged(said: Part, found: JsonObject) -> Part:
    """Return part of an entry: what the operator says, else what the file says."""
    try:
        return type(said).model_validate({**found, **said.model_dump(exclude_none=True)})
    except ValidationError as cause:
        words = "; ".join(f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in cause.errors())
        raise ValueError(f"what the file says about itself: {words}") from cause
