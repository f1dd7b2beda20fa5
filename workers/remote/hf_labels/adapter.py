"""Black boxes made of a service that names what it sees."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from app.contract.schemas import Task
from workers.blackbox import BlackBox, Classifier, Detections, Detector, Preprocessing
from workers.loading.labels import labels_of
from workers.loading.torch_module import probe_batch
from workers.model_io.entry import ModelEntry
from workers.model_io.preprocessing_config import preprocessing_of
from workers.model_io.proposals import joined
from workers.remote.hf_labels.client import HfLabelsClient, LabeledPrediction
from workers.remote.http.client import ModelServerClient
from workers.remote.http.errors import PermanentServerError, server_context
from workers.remote.http.options import LabelsOptions, RequestForm
from workers.remote.http.url import check_address, shown

_EVERYTHING: dict[Task, dict[str, float]] = {"classification": {"top_k": 10_000}, "detection": {"threshold": 0.0}}


def load_hf_labels_model(entry: ModelEntry, options: LabelsOptions, folder: Path) -> BlackBox:
    """Ask the service about some pictures, and return it as a black box on the CPU.

    Args:
        entry: the model's entry.
        options: its options.
        folder: of the models file.

    Raises:
        ValueError: if what the service answers and the entry say does not fit together.
        BlackBoxError: if the service does not answer as it should.
    """
    check_address(entry.source)
    preprocessing = _preprocessing(entry)
    task: Task = entry.task or "classification"
    parameters = _EVERYTHING[task] if options.parameters is None else options.parameters
    forms: Sequence[RequestForm] = ("json", "bytes") if options.request is None else (options.request,)
    connection = ModelServerClient(options)
    services = [HfLabelsClient(connection, entry.source, form, options.image, dict(parameters)) for form in forms]
    service, answers = _first_that_answers(services, probe_batch(preprocessing))
    make = _classifier if task == "classification" else _detector
    identity = json.dumps([shown(entry.source), service.form, service.kind, service.parameters])
    return replace(make(entry, folder, service, answers), preprocessing=preprocessing, identity=identity)


def _preprocessing(entry: ModelEntry) -> Preprocessing:
    said = entry.preprocessing
    for name in ("mean", "std", "channels"):
        if getattr(said, name) is not None:
            raise ValueError(f"preprocessing.{name}: the service takes pictures, and prepares them itself")
    return preprocessing_of(entry, Preprocessing(size=None))


def _first_that_answers(
    services: Sequence[HfLabelsClient], pictures: Tensor
) -> tuple[HfLabelsClient, list[list[LabeledPrediction]]]:
    """Return the first service that does not refuse pictures, and what it sees in them."""
    *others, last = services
    for service in others:
        try:
            service.look(pictures[:1])
            return service, service.look(pictures)
        except PermanentServerError:
            continue
    return last, last.look(pictures)


def _classifier(
    entry: ModelEntry, folder: Path, service: HfLabelsClient, answers: Sequence[Sequence[LabeledPrediction]]
) -> BlackBox:
    if any(one.box is not None for seen in answers for one in seen):
        raise ValueError('task: the service answers with boxes; say task = "detection"')
    found = None if entry.labels is not None else _names_in(answers)
    labels = labels_of(entry, folder=folder, found=found)
    row = _row_of(labels)
    with server_context(service.url):
        for seen in answers:
            row(seen)

    def forward(images: Tensor) -> Tensor:
        looked = service.look(images)
        with server_context(service.url):
            return torch.stack([row(seen) for seen in looked]).to(images.device)

    return Classifier(forward, labels, Preprocessing(size=None), "probabilities")


def _names_in(answers: Sequence[Sequence[LabeledPrediction]]) -> list[str]:
    """Return the labels of all answers, sorted, where each of them names all.

    Raises:
        ValueError: where an answer names only some.
    """
    named = [{one.label for one in seen} for seen in answers]
    every = set().union(*named)
    if not every or any(names != every for names in named):
        counts = f"{min(map(len, named))} of at least {len(every)}"
        raise ValueError(f"labels: an answer of the service names only some of its classes ({counts}); name them all")
    return sorted(every)


def _row_of(labels: Sequence[str]) -> Callable[[Sequence[LabeledPrediction]], Tensor]:
    """Return the function from an answer to its scores `[C]`: 0 for labels that it leaves out."""
    places = {label: place for place, label in enumerate(labels)}

    def row(seen: Sequence[LabeledPrediction]) -> Tensor:
        scores = torch.zeros(len(labels))
        for one in seen:
            if one.label not in places:
                raise ValueError(f"gave the label {one.label!r}, which labels does not name")
            scores[places[one.label]] = one.score
        return scores

    return row


def _detector(
    entry: ModelEntry, folder: Path, service: HfLabelsClient, _: Sequence[Sequence[LabeledPrediction]]
) -> BlackBox:
    if entry.labels is None:
        raise ValueError("labels: a detector names only what it sees; name all its classes")
    labels = labels_of(entry, folder=folder)
    places = {label: place for place, label in enumerate(labels)}

    def forward(images: Tensor) -> Detections:
        looked = service.look(images)
        with server_context(service.url):
            found = joined([_proposals(seen, places) for seen in looked])
        return Detections(*(values.to(images.device) for values in (found.boxes_xyxy, found.classes, found.objectness)))

    return Detector(forward, labels, Preprocessing(size=None))


def _proposals(seen: Sequence[LabeledPrediction], places: dict[str, int]) -> Detections:
    """Return what is seen in one picture, `[1, P, ...]`; a label that is no class has no score for any."""
    boxes, classes = torch.zeros(1, len(seen), 4), torch.zeros(1, len(seen), len(places))
    for place, one in enumerate(seen):
        if one.box is None:
            raise ValueError(f"gave {one.label!r} without a box")
        boxes[0, place] = torch.tensor([one.box.xmin, one.box.ymin, one.box.xmax, one.box.ymax])
        if one.label in places:
            classes[0, place, places[one.label]] = 1.0
    return Detections(boxes, classes, torch.tensor([[one.score for one in seen]]))
