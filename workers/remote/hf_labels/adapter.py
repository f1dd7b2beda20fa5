"""Black boxes of a service that returns labels and scores."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from app.contract.schemas import Task
from workers.blackbox import BlackBox, Classifier, Detections, Detector, Preprocessing
from workers.loading.assumptions import Assumptions
from workers.loading.labels import labels_of
from workers.loading.torch_module import probe_batch
from workers.model_io.model_entry import ModelEntry
from workers.model_io.preprocessing_config import preprocessing_of
from workers.model_io.proposals import joined
from workers.remote.hf_labels.client import HfLabelsClient, LabeledPrediction
from workers.remote.http.client import (
    ModelServerClient,
    PermanentServerError,
    check_address,
    redacted_url,
    server_context,
)
from workers.remote.http.options import LabelsOptions, RequestForm

_EVERYTHING: dict[Task, dict[str, float]] = {"classification": {"top_k": 10_000}, "detection": {"threshold": 0.0}}


def load_hf_labels_model(entry: ModelEntry, options: LabelsOptions, folder: Path) -> BlackBox:
    """Return a service as a black box on the CPU, after predictions for a few images.

    Args:
        entry: the model's entry.
        options: its options.
        folder: of the models file.

    Raises:
        ValueError: if responses of the service and the entry do not fit together.
        BlackBoxError: if the service does not answer as it should.
    """
    check_address(entry.source)
    preprocessing = _preprocessing(entry)
    task: Task = entry.task or "classification"
    parameters = _EVERYTHING[task] if options.parameters is None else options.parameters
    forms: Sequence[RequestForm] = ("json", "bytes") if options.request is None else (options.request,)
    http = ModelServerClient(options)
    clients = [HfLabelsClient(http, entry.source, form, options.image, dict(parameters)) for form in forms]
    client, predictions = _first_accepted(clients, probe_batch(preprocessing))
    make = _classifier if task == "classification" else _detector
    identity = json.dumps([redacted_url(entry.source), client.form, client.kind, client.parameters])
    black_box = make(entry, folder, client, predictions)
    assumptions = Assumptions(entry, entry)
    assumptions.note("task", task, by_default="checked")
    assumptions.note("options.request", client.form, by_default="checked")
    assumptions.note("labels", f"{len(black_box.labels)} names", by_default="checked")
    assumptions.note("preprocessing.size", preprocessing.size or "any", by_default="checked")
    return replace(black_box, preprocessing=preprocessing, identity=identity, assumptions=assumptions.noted())


def _preprocessing(entry: ModelEntry) -> Preprocessing:
    declared = entry.preprocessing
    for name in ("mean", "std", "channels"):
        if getattr(declared, name) is not None:
            raise ValueError(f"preprocessing.{name}: the service takes pictures, and prepares them itself")
    return preprocessing_of(entry, Preprocessing(size=None))


def _first_accepted(
    clients: Sequence[HfLabelsClient], images: Tensor
) -> tuple[HfLabelsClient, list[list[LabeledPrediction]]]:
    """Return the first client whose requests the service accepts, and the predictions for images."""
    *others, last = clients
    for client in others:
        try:
            client.predict(images[:1])
            return client, client.predict(images)
        except PermanentServerError:
            continue
    return last, last.predict(images)


def _classifier(
    entry: ModelEntry, folder: Path, client: HfLabelsClient, predictions: Sequence[Sequence[LabeledPrediction]]
) -> BlackBox:
    if any(one.box is not None for image in predictions for one in image):
        raise ValueError('task: the service answers with boxes; say task = "detection"')
    found = None if entry.labels is not None else _names_in(predictions)
    labels = labels_of(entry, folder=folder, found=found)
    row = _row_of(labels)
    with server_context(client.url):
        for image in predictions:
            row(image)

    def forward(images: Tensor) -> Tensor:
        predictions = client.predict(images)
        with server_context(client.url):
            return torch.stack([row(image) for image in predictions]).to(images.device)

    return Classifier(forward, labels, Preprocessing(size=None), "probabilities")


def _names_in(predictions: Sequence[Sequence[LabeledPrediction]]) -> list[str]:
    """Return the labels in the predictions of several images, sorted.

    Raises:
        ValueError: where those of an image have only some of them.
    """
    named = [{one.label for one in image} for image in predictions]
    every = set().union(*named)
    if not every or any(names != every for names in named):
        counts = f"{min(map(len, named))} of at least {len(every)}"
        raise ValueError(f"labels: an answer of the service names only some of its classes ({counts}); name them all")
    return sorted(every)


def _row_of(labels: Sequence[str]) -> Callable[[Sequence[LabeledPrediction]], Tensor]:
    """Return the function from the predictions of an image to scores `[C]`: 0 for labels that are left out."""
    places = {label: place for place, label in enumerate(labels)}

    def row(predictions: Sequence[LabeledPrediction]) -> Tensor:
        scores = torch.zeros(len(labels))
        for one in predictions:
            if one.label not in places:
                raise ValueError(f"gave the label {one.label!r}, which labels does not name")
            scores[places[one.label]] = one.score
        return scores

    return row


def _detector(
    entry: ModelEntry, folder: Path, client: HfLabelsClient, _: Sequence[Sequence[LabeledPrediction]]
) -> BlackBox:
    if entry.labels is None:
        raise ValueError("labels: a detector names only what it sees; name all its classes")
    labels = labels_of(entry, folder=folder)
    places = {label: place for place, label in enumerate(labels)}

    def forward(images: Tensor) -> Detections:
        predictions = client.predict(images)
        with server_context(client.url):
            found = joined([_proposals(image, places) for image in predictions])
        return Detections(*(values.to(images.device) for values in (found.boxes_xyxy, found.classes, found.objectness)))

    return Detector(forward, labels, Preprocessing(size=None))


def _proposals(predictions: Sequence[LabeledPrediction], places: dict[str, int]) -> Detections:
    """Return the detections of one image, `[1, P, ...]`; a label that is no class has score 0 for each."""
    boxes, classes = torch.zeros(1, len(predictions), 4), torch.zeros(1, len(predictions), len(places))
    for place, one in enumerate(predictions):
        if one.box is None:
            raise ValueError(f"gave {one.label!r} without a box")
        boxes[0, place] = torch.tensor([one.box.xmin, one.box.ymin, one.box.xmax, one.box.ymax])
        if one.label in places:
            classes[0, place, places[one.label]] = 1.0
    return Detections(boxes, classes, torch.tensor([[one.score for one in predictions]]))
