"""Black boxes made of a model behind the Open Inference Protocol v2, or KServe's v1."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from app.contract.schemas import Task
from workers.blackbox import BlackBox, BlackBoxError, Classifier, Detections, Detector, Preprocessing
from workers.loading.labels import labels_of
from workers.loading.torch_module import probe_batch
from workers.model_io.entry import ModelEntry, OutputsEntry
from workers.model_io.outputs import DetectorLayout, class_scores, detections, named
from workers.model_io.preprocessing_config import preprocessing_of
from workers.model_io.proposals import joined
from workers.remote.http.client import ModelServerClient
from workers.remote.http.errors import PermanentServerError, server_context
from workers.remote.http.options import InferenceOptions
from workers.remote.http.url import check_address, shown
from workers.remote.kserve.input_spec import input_spec_of
from workers.remote.kserve.metadata import ServerMetadata, read_metadata
from workers.remote.kserve.v1_client import KServeV1Client
from workers.remote.kserve.v2_client import BatchSlice, KServeV2Client

Read = TypeVar("Read")

_NEARLY = 1e-3
_SOURCE = re.compile(r"(?P<server>.+?)(/(?P<protocol>v[12]))?(?P<model>/models/[^/?#]+(/versions/[^/?#]+)?)/?")


class InferenceClient(Protocol):
    """Pictures in, the outputs of a model out, by whatever protocol."""

    @property
    def url(self) -> str:
        """Where pictures are sent to."""
        ...

    def ask(self, images: Tensor) -> list[BatchSlice]:
        """Return the outputs of normalised pictures `[B, C, H, W]`, a part for each request."""
        ...


def load_kserve_model(entry: ModelEntry, options: InferenceOptions, folder: Path) -> BlackBox:
    """Return a model as a black box on the CPU, by the protocol that its address names, or by the one that works.

    Args:
        entry: the model's entry.
        options: its options.
        folder: of the models file.

    Raises:
        ValueError: if what the server and the entry say does not fit together.
        BlackBoxError: if the server does not answer as it should.
    """
    found = _SOURCE.fullmatch(entry.source)
    if found is None or found["protocol"] == "v2":
        return _by_inference(entry, options, folder)
    if found["protocol"] == "v1":
        return _by_predictions(entry, options, folder)
    v2, v1 = (
        entry.model_copy(update={"source": f"{found['server']}/{protocol}{found['model']}"})
        for protocol in ("v2", "v1")
    )
    try:
        return _by_inference(v2, options, folder)
    except ValueError as cause:
        if isinstance(cause, BlackBoxError) and not isinstance(cause, PermanentServerError):
            raise  # because a server that is down or broken says nothing about what it speaks
        return _by_predictions_after(cause, v1, options, folder)


def _by_predictions_after(refusal: ValueError, entry: ModelEntry, options: InferenceOptions, folder: Path) -> BlackBox:
    try:
        return _by_predictions(entry, options, folder)
    except ValueError as cause:
        raise BlackBoxError(f"{refusal}; and by v1: {cause}") from cause


def _by_inference(entry: ModelEntry, options: InferenceOptions, folder: Path) -> BlackBox:
    """Read the server's metadata and ask it about one picture."""
    connection = ModelServerClient(options)
    metadata = read_metadata(connection, entry.source)
    told = input_spec_of(metadata, options)
    preprocessing = preprocessing_of(entry, told.preprocessing())
    inference = KServeV2Client(connection, metadata, told)
    (first,) = inference.ask(probe_batch(preprocessing)[:1])
    inference = replace(inference, version=first.version)
    make = _detector if _task(entry, first.outputs) == "detection" else _classifier
    black_box = make(entry, folder, inference, first)
    return replace(black_box, preprocessing=preprocessing, identity=f"{metadata.identity} {first.version}")


def _by_predictions(entry: ModelEntry, options: InferenceOptions, folder: Path) -> BlackBox:
    """Ask a server about one picture that says nothing about its models."""
    check_address(entry.source)
    if entry.preprocessing.size is None and entry.preprocessing.resize != "scale":
        raise ValueError("preprocessing.size: a server of v1 does not say it; give the side, or [height, width]")
    address = entry.source.rstrip("/")
    silent = ServerMetadata(address, name="", versions=(), platform="", inputs=(), binary=False)
    told = input_spec_of(silent, options.model_copy(update={"input": "instances", "binary": False}))
    preprocessing = preprocessing_of(entry, told.preprocessing())
    predictions = KServeV1Client(ModelServerClient(options), address, told)
    (first,) = predictions.ask(probe_batch(preprocessing)[:1])
    make = _detector if _task(entry, first.outputs) == "detection" else _classifier
    black_box = make(entry, folder, predictions, first)
    return replace(black_box, preprocessing=preprocessing, identity=json.dumps(shown(address)))


def _task(entry: ModelEntry, outputs: Mapping[str, Tensor]) -> Task:
    """Return the task that the entry says, else the one that the outputs look like."""
    if entry.task is not None:
        return entry.task
    boxes = entry.outputs.packed is not None or named(outputs, "boxes", entry.outputs) is not None
    return "detection" if boxes else "classification"


def _classifier(entry: ModelEntry, folder: Path, asker: InferenceClient, first: BatchSlice) -> BlackBox:
    scores = class_scores(first.outputs, entry.outputs)
    labels = labels_of(entry, folder=folder, count=scores.shape[1])
    activation = entry.outputs.activation
    if activation is None and bool((scores >= 0).all()) and abs(float(scores[0].sum()) - 1) < _NEARLY:
        words = 'say "probabilities", or "softmax" if they are none'
        raise ValueError(f"outputs.activation: the scores of a picture add up to 1 as probabilities do; {words}")

    def rows(part: BatchSlice) -> Tensor:
        scores = class_scores(part.outputs, entry.outputs)
        _check_shape(scores, part.rows, len(labels))
        return scores[: part.pictures].float()

    def forward(images: Tensor) -> Tensor:
        return torch.cat(_read_with(rows, asker, images)).to(images.device)

    return Classifier(forward, labels, Preprocessing(size=None), activation or "softmax")


def _detector(entry: ModelEntry, folder: Path, asker: InferenceClient, first: BatchSlice) -> BlackBox:
    labels = labels_of(entry, folder=folder, count=_count_of_classes(entry.outputs, first.outputs))
    layout = DetectorLayout(entry.outputs, len(labels), entry.outputs.activation or "probabilities")

    def proposals(part: BatchSlice) -> Detections:
        found = detections(part.outputs, layout, part.size)
        count = found.boxes_xyxy.shape[1]
        _check_shape(found.boxes_xyxy, part.rows, count, 4)
        _check_shape(found.classes, part.rows, count, len(labels))
        _check_shape(found.objectness, part.rows, count)
        kept = slice(part.pictures)
        return Detections(found.boxes_xyxy[kept], found.classes[kept], found.objectness[kept])

    def forward(images: Tensor) -> Detections:
        found = joined(_read_with(proposals, asker, images))
        return Detections(*(values.to(images.device) for values in (found.boxes_xyxy, found.classes, found.objectness)))

    _check_probable(proposals(first).classes)
    return Detector(forward, labels, Preprocessing(size=None))


def _read_with(read: Callable[[BatchSlice], Read], asker: InferenceClient, images: Tensor) -> list[Read]:
    parts = asker.ask(images)
    with server_context(asker.url):
        return [read(part) for part in parts]


def _count_of_classes(entry: OutputsEntry, outputs: Mapping[str, Tensor]) -> int | None:
    """Return how many classes a detector has; None where its outputs do not tell."""
    scores = None if entry.packed else named(outputs, "scores", entry)
    if scores is None or scores.dim() != 3 or named(outputs, "labels", entry) is not None:
        return None
    return scores.shape[2] - (1 if entry.background in {"first", "last"} else 0)


def _check_shape(values: Tensor, *expected: int) -> None:
    if values.shape != expected:
        raise ValueError(f"gave shape {list(values.shape)}, expected {list(expected)}")


def _check_probable(classes: Tensor) -> None:
    if classes.numel() and (float(classes.min()) < -_NEARLY or float(classes.max()) > 1 + _NEARLY):
        words = f"scores from {float(classes.min()):g} to {float(classes.max()):g} are no probabilities"
        raise ValueError(f'outputs.activation: {words}; say "sigmoid" or "softmax"')
