"""Black boxes of a model behind the Open Inference Protocol v2, or KServe's v1."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from workers.blackbox import BlackBox, BlackBoxError, Classifier, Detections, Detector, Preprocessing
from workers.loading.assumptions import Assumptions
from workers.loading.output_layout import check_that_outputs_change
from workers.loading.probed_model import ProbedModel, stacked
from workers.loading.torch_module import probe_batch
from workers.model_io.model_entry import ModelEntry
from workers.model_io.outputs import class_scores, detections
from workers.model_io.preprocessing_config import preprocessing_of
from workers.model_io.proposals import joined
from workers.remote.http.client import (
    ModelServerClient,
    PermanentServerError,
    check_address,
    redacted_url,
    server_context,
)
from workers.remote.http.options import InferenceOptions
from workers.remote.kserve.metadata import ServerMetadata, input_spec_of, read_metadata
from workers.remote.kserve.v1_client import KServeV1Client
from workers.remote.kserve.v2_client import BatchSlice, KServeV2Client

Value = TypeVar("Value")

_SOURCE = re.compile(r"(?P<server>.+?)(/(?P<protocol>v[12]))?(?P<model>/models/[^/?#]+(/versions/[^/?#]+)?)/?")


class InferenceClient(Protocol):
    """A client of one model, whatever the protocol."""

    @property
    def url(self) -> str:
        """Where images are sent to."""
        ...

    def infer(self, images: Tensor) -> list[BatchSlice]:
        """Return the outputs for normalised images `[B, C, H, W]`, a slice for each request."""
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
    match = _SOURCE.fullmatch(entry.source)
    if match is None or match["protocol"] == "v2":
        return _load_v2(entry, options, folder)
    if match["protocol"] == "v1":
        return _load_v1(entry, options, folder)
    v2, v1 = (
        entry.model_copy(update={"source": f"{match['server']}/{protocol}{match['model']}"})
        for protocol in ("v2", "v1")
    )
    try:
        return _load_v2(v2, options, folder)
    except ValueError as error:
        if isinstance(error, BlackBoxError) and not isinstance(error, PermanentServerError):
            raise  # because which protocol a server speaks does not follow from its being down or broken
        v2_error = error
    try:
        return _load_v1(v1, options, folder)
    except ValueError as cause:
        raise BlackBoxError(f"{v2_error}; and by v1: {cause}") from cause


def _load_v2(entry: ModelEntry, options: InferenceOptions, folder: Path) -> BlackBox:
    """Read the server's metadata and infer one image."""
    http = ModelServerClient(options)
    metadata = read_metadata(http, entry.source)
    spec = input_spec_of(metadata, options)
    preprocessing = preprocessing_of(entry, spec.preprocessing())
    client = KServeV2Client(http, metadata, spec)
    parts = client.infer(probe_batch(preprocessing))
    client = replace(client, version=parts[0].version)
    black_box = _black_box(entry, folder, client, preprocessing, parts)
    return replace(black_box, identity=f"{metadata.identity} {parts[0].version}")


def _load_v1(entry: ModelEntry, options: InferenceOptions, folder: Path) -> BlackBox:
    """Infer one image by a server that has no metadata."""
    check_address(entry.source)
    if entry.preprocessing.size is None and entry.preprocessing.resize != "scale":
        raise ValueError("preprocessing.size: a server of v1 does not say it; give the side, or [height, width]")
    address = entry.source.rstrip("/")
    spec = input_spec_of(ServerMetadata(address), options.model_copy(update={"input": "instances", "binary": False}))
    preprocessing = preprocessing_of(entry, spec.preprocessing())
    client = KServeV1Client(ModelServerClient(options), address, spec)
    black_box = _black_box(entry, folder, client, preprocessing, client.infer(probe_batch(preprocessing)))
    return replace(black_box, identity=json.dumps(redacted_url(address)))


def _black_box(
    entry: ModelEntry, folder: Path, client: InferenceClient, preprocessing: Preprocessing, parts: Sequence[BatchSlice]
) -> BlackBox:
    """Return the black box of a model, by its outputs for the probe images."""
    with server_context(client.url):
        for part in parts:
            for name, output in part.outputs.items():
                _check_shape(output, part.rows, *output.shape[1:], name=name)
        outputs = stacked([{name: output[: part.images] for name, output in part.outputs.items()} for part in parts])
    model = ProbedModel(entry, folder, preprocessing, outputs, Assumptions(entry, entry))
    task = model.task()
    if task == "segmentation":
        raise ValueError("task: models for segmentation are explained through onnx or transformers, not over HTTP")
    black_box = _detector(client, model) if task == "detection" else _classifier(client, model)
    check_that_outputs_change(outputs)
    return replace(black_box, assumptions=model.assumptions.complete(black_box))


def _classifier(client: InferenceClient, model: ProbedModel) -> BlackBox:
    labels, activation = model.classes(class_scores(model.outputs, model.entry.outputs))

    def read(part: BatchSlice) -> Tensor:
        scores = class_scores(part.outputs, model.entry.outputs)
        _check_shape(scores, part.rows, len(labels))
        return scores[: part.images].float()

    def forward(images: Tensor) -> Tensor:
        return torch.cat(_infer(client, images, read)).to(images.device)

    return Classifier(forward, labels, model.preprocessing, activation)


def _detector(client: InferenceClient, model: ProbedModel) -> BlackBox:
    layout, labels = model.detector_layout()

    def read(part: BatchSlice) -> Detections:
        proposals = detections(part.outputs, layout, part.size)
        count = proposals.boxes_xyxy.shape[1]
        _check_shape(proposals.boxes_xyxy, part.rows, count, 4)
        _check_shape(proposals.classes, part.rows, count, len(labels))
        _check_shape(proposals.objectness, part.rows, count)
        kept = slice(part.images)
        return Detections(proposals.boxes_xyxy[kept], proposals.classes[kept], proposals.objectness[kept])

    def forward(images: Tensor) -> Detections:
        whole = joined(_infer(client, images, read))
        return Detections(*(values.to(images.device) for values in (whole.boxes_xyxy, whole.classes, whole.objectness)))

    return Detector(forward, labels, model.preprocessing)


def _infer(client: InferenceClient, images: Tensor, read: Callable[[BatchSlice], Value]) -> list[Value]:
    parts = client.infer(images)
    with server_context(client.url):
        return [read(part) for part in parts]


def _check_shape(values: Tensor, *expected: int, name: str = "") -> None:
    if values.shape != expected:
        raise ValueError(f"gave {name and name + ' of '}shape {list(values.shape)}, expected {list(expected)}")
