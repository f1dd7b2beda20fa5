"""Services that name what they see: their maps are those of the same model in this process, or words say why."""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from app.contract.errors import RiseError
from tests.conftest import SAMPLES
from tests.support.loopback import Asked, Reply, loopback
from tests.workers.models.explaining import alike, collection_of, map_by, reason_of
from tests.workers.models.inference_server import Array
from workers.blackbox import Classifier, Detections, Detector, Preprocessing
from workers.blackbox.preprocessing import normalise, to_input
from workers.demo import shapes, shapes_detector
from workers.demo.shape_names import SHAPES
from workers.supervision.current_attempt import model_call

LABELS = list(SHAPES)
CLASSIFIER, DETECTOR = shapes.load(), shapes_detector.load()
NAMED = f"labels = {json.dumps(LABELS)}"
AS_DETECTOR = f'{NAMED}\ntask = "detection"'

LOCAL = f"""
[classifier]
loader = "python"
source = "{__name__}:local_classifier"
[detector]
loader = "python"
source = "{__name__}:local_detector"
"""

Named = list[dict[str, Any]]


def remote(url: str, more: str = "", options: str = "") -> str:
    return f"""
[remote]
loader = "http-labels"
source = "{url}/models/shapes"
limits.batch = 16
{more}
[remote.options]
{options}
"""


def prepared(picture: Tensor, preprocessing: Preprocessing) -> Tensor:
    return normalise(to_input(picture[None], preprocessing), preprocessing)


def classes_in(picture: Tensor) -> Named:
    """Name every class in a picture `[3, H, W]`, the likeliest first, as a pipeline does."""
    with torch.inference_mode():
        scores = CLASSIFIER.forward(prepared(picture, CLASSIFIER.preprocessing))[0].softmax(0)
    return [{"label": LABELS[place], "score": float(scores[place])} for place in scores.argsort(descending=True)]


def objects_in(picture: Tensor) -> Named:
    """Name what may be an object in a picture `[3, H, W]`, with boxes in its pixels."""
    with torch.inference_mode():
        found = DETECTOR.forward(prepared(picture, DETECTOR.preprocessing))
    across, down = picture.shape[2] / 128, picture.shape[1] / 128
    return [
        {
            "label": LABELS[int(classes.argmax())],
            "score": float(objectness),
            "box": dict(zip(("xmin", "ymin", "xmax", "ymax"), (box * scale).tolist(), strict=True)),
        }
        for box, classes, objectness in zip(found.boxes_xyxy[0], found.classes[0], found.objectness[0], strict=True)
        for scale in (torch.tensor([across, down, across, down]),)
        if objectness > 0.02
    ]


def levels(images: Tensor) -> Tensor:
    return (images.clamp(0, 1) * 255).round() / 255


def local_classifier() -> Classifier:
    """The service's classifier in this process, on 256 levels as an image file has them."""

    def forward(images: Tensor) -> Tensor:
        scores = [{one["label"]: one["score"] for one in classes_in(image)} for image in levels(images)]
        return torch.tensor([[row[label] for label in LABELS] for row in scores])

    return Classifier(forward, tuple(LABELS), Preprocessing(size=None), "probabilities")


def local_detector() -> Detector:
    """The service's detector in this process, likewise."""

    def forward(images: Tensor) -> Detections:
        named = [objects_in(image) for image in levels(images)]
        most = max(1, *map(len, named))
        boxes, classes, scores = (torch.zeros(len(named), most, *more) for more in ((4,), (len(LABELS),), ()))
        for row, seen in enumerate(named):
            for place, one in enumerate(seen):
                boxes[row, place] = torch.tensor(list(one["box"].values()))
                classes[row, place, LABELS.index(one["label"])] = 1
                scores[row, place] = one["score"]
        return Detections(boxes, classes, scores)

    return Detector(forward, tuple(LABELS), Preprocessing(size=None))


def picture_of(asked: Asked) -> Tensor:
    """Read the picture of a request in either form; JSON without `inputs` is the sender's mistake."""
    content = asked.body
    if asked.headers["content-type"] == "application/json":
        content = base64.b64decode(json.loads(asked.body)["inputs"])
    array = np.asarray(Image.open(io.BytesIO(content)), dtype=np.float32) / 255
    return torch.from_numpy(array).permute(2, 0, 1)


def answering(name: Callable[[Tensor], Named]) -> Callable[[Asked], Reply]:
    """Return a service that honours `top_k` and names five without it, as the Hugging Face API does."""

    def answer(asked: Asked) -> Reply:
        given = json.loads(asked.body).get("parameters", {}) if asked.headers["content-type"].endswith("json") else {}
        named = name(picture_of(asked))
        if "box" not in (named or [{"box": 0}])[0]:
            named = named[: given.get("top_k", 5)]
        return Reply(json.dumps(named).encode())

    return answer


def bytes_only(name: Callable[[Tensor], Named]) -> Callable[[Asked], Reply]:
    """Return a service that takes files and nothing else."""

    def answer(asked: Asked) -> Reply:
        if asked.headers["content-type"].endswith("json"):
            return Reply(b'{"error": "cannot identify image file"}', 400)
        return answering(name)(asked)

    return answer


@pytest.fixture(scope="module")
def small_star() -> bytes:
    file = io.BytesIO()
    Image.open(SAMPLES / "star.jpg").resize((90, 60)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def local_map(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Array]:
    folder = tmp_path_factory.mktemp("local")
    collection = collection_of(folder, LOCAL)
    return lambda model, image, **fields: map_by(collection, model, image, folder, **fields)


def test_a_classifier_has_the_map_of_the_same_model_in_this_process(
    tmp_path: Path, small_star: bytes, local_map: Callable[..., Array]
) -> None:
    star = {"targets": [{"label": "star"}]}
    with loopback(answering(classes_in)) as server:
        collection = collection_of(tmp_path, remote(server.url))
        (card,) = collection.cards()
        assert card.labels == sorted(LABELS), card
        assert card.input_size is None
        assert {one.what: (one.value, one.source) for one in card.assumptions} == {
            "trained_with_masks": ("false", "convention"),
            "task": ("classification", "checked"),
            "options.request": ("json", "checked"),
            "labels": ("6 names", "checked"),
            "preprocessing.size": ("any", "checked"),
        }
        map_by_service = map_by(collection, "remote", small_star, tmp_path, **star)
        assert {json.loads(asked.body)["parameters"]["top_k"] for asked in server.log} == {10_000}
    assert alike(local_map("classifier", small_star, **star), map_by_service)


def test_a_detector_has_the_map_of_the_same_model_in_this_process(
    tmp_path: Path, small_star: bytes, local_map: Callable[..., Array]
) -> None:
    with loopback(answering(objects_in)) as server:
        collection = collection_of(tmp_path, remote(server.url, AS_DETECTOR))
        map_by_service = map_by(collection, "remote", small_star, tmp_path, grid=4, masks=32)
        assert {json.loads(asked.body)["parameters"]["threshold"] for asked in server.log} == {0}
    assert alike(local_map("detector", small_star, grid=4, masks=32), map_by_service)


def test_a_service_that_takes_files_only_gets_files(
    tmp_path: Path, small_star: bytes, local_map: Callable[..., Array]
) -> None:
    with loopback(bytes_only(classes_in)) as server:
        collection = collection_of(tmp_path, remote(server.url, NAMED))
        map_by_service = map_by(collection, "remote", small_star, tmp_path)
        assert {asked.headers["content-type"] for asked in server.log[1:]} == {"image/png"}
    assert map_by_service.shape == (60, 90)
    assert alike(local_map("classifier", small_star), map_by_service, 0.1)  # because one class of six is left out


def test_labels_that_an_answer_leaves_out_have_the_score_0(tmp_path: Path) -> None:
    with loopback(lambda _: Reply(b'[{"label": "star", "score": 0.75}]')) as server:
        collection = collection_of(tmp_path, remote(server.url, NAMED))
        black_box = collection.get("remote").black_box
        scores = black_box.forward(torch.zeros(1, 3, 8, 8))
    assert isinstance(scores, Tensor)
    assert scores.tolist() == [[0.75 if label == "star" else 0 for label in LABELS]]


@pytest.mark.parametrize(("kind", "exact"), [("png", True), ("jpeg", False)])
def test_pictures_travel_as_the_options_say(kind: str, exact: bool, tmp_path: Path) -> None:
    picture = torch.rand(1, 3, 20, 30, generator=torch.Generator().manual_seed(0))
    with loopback(lambda _: Reply(b'[{"label": "star", "score": 1}]')) as server:
        options = f'image = "{kind}"\nrequest = "bytes"'
        collection = collection_of(tmp_path, remote(server.url, NAMED, options))
        collection.get("remote").black_box.forward(picture)
        assert server.log[-1].headers["content-type"] == f"image/{kind}"
        assert Image.open(io.BytesIO(server.log[-1].body)).format == kind.upper()
        assert bool((picture_of(server.log[-1]) == levels(picture[0])).all()) == exact


TROUBLES = {
    "an error": (Reply(b"out of memory", 500), "answered 500: out of memory"),
    "not a number": (Reply(b'[{"label": "star", "score": NaN}]'), "gave NaN or infinity for 'star'"),
    "no probability": (Reply(b'[{"label": "star", "score": 7}]'), "gave 'star' the score 7, which is no probability"),
    "no number": (Reply(b'[{"label": "star"}]'), "gave an answer with 0.score amiss"),
    "a dictionary": (Reply(b'{"error": "loading"}'), "gave an answer with a body amiss"),
    "a page": (Reply(b"<html>"), "gave an answer that is no JSON: '<html>'"),
    "another label": (
        Reply(b'[{"label": "moose", "score": 1}]'),
        "gave the label 'moose', which labels does not name",
    ),
    "busy for good": (Reply(b"loading", 503), "answered 503: loading (tried 2 times)"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_whatever_is_wrong_with_an_answer_is_said_with_the_services_name(
    trouble: str, tmp_path: Path, small_star: bytes
) -> None:
    reply, words = TROUBLES[trouble]
    well = answering(classes_in)
    with loopback(lambda asked: reply if asked.number > 12 else well(asked)) as server:
        collection = collection_of(tmp_path, remote(server.url, NAMED, "retries = 1"))
        with pytest.raises(RiseError) as failed, model_call("remote"):
            map_by(collection, "remote", small_star, tmp_path)
    assert failed.value.detail.startswith(f"model 'remote' failed: {server.url}/models/shapes {words}")


@pytest.mark.slow
def test_a_busy_service_gives_the_right_map(tmp_path: Path, small_star: bytes, local_map: Callable[..., Array]) -> None:
    well = answering(classes_in)
    with loopback(lambda asked: Reply(b"", 503) if asked.number % 2 else well(asked)) as server:
        collection = collection_of(tmp_path, remote(server.url, NAMED, "retries = 60"))
        map_by_service = map_by(collection, "remote", small_star, tmp_path)
    assert alike(local_map("classifier", small_star), map_by_service)


def test_a_box_is_missing(tmp_path: Path, small_star: bytes) -> None:
    with loopback(answering(classes_in)) as server:
        collection = collection_of(tmp_path, remote(server.url, AS_DETECTOR))
        with pytest.raises(ValueError, match=r"/models/shapes gave '\w+' without a box"):
            map_by(collection, "remote", small_star, tmp_path)


REFUSALS = {
    "some classes only": (classes_in, "", 'request = "bytes"', "names only some of its classes (5 of at least 6)"),
    "a label too few": (classes_in, 'labels = ["star"]', "", "which labels does not name"),
    "a detector without labels": (objects_in, 'task = "detection"', "", "labels: a detector names only what it sees"),
    "a detector as classifier": (objects_in, NAMED, "", 'task: the service answers with boxes; say task = "detection"'),
    "a mean": (
        classes_in,
        f"{NAMED}\npreprocessing.mean = [0.5]",
        "",
        "preprocessing.mean: the service takes pictures",
    ),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_what_does_not_fit_is_refused_when_the_model_is_loaded(refusal: str, tmp_path: Path) -> None:
    name, more, options, words = REFUSALS[refusal]
    with loopback(answering(name)) as server:
        assert words in reason_of(tmp_path, remote(server.url, more, options))


def test_a_service_that_refuses_both_forms_is_described(tmp_path: Path) -> None:
    with loopback(lambda _: Reply(b"no pictures please", 422)) as server:
        reason = reason_of(tmp_path, remote(server.url, NAMED))
    assert reason == f"{server.url}/models/shapes answered 422: no pictures please"


@pytest.mark.parametrize("retries", [0, 1])
def test_a_service_that_limits_the_rate_while_it_is_loaded_is_not_taken_for_one_that_refuses_json(
    retries: int, tmp_path: Path
) -> None:
    well = answering(classes_in)
    with loopback(lambda asked: Reply(b"slow down", 429) if asked.number == 0 else well(asked)) as server:
        entry = remote(server.url, NAMED, f"retries = {retries}")
        if retries:
            collection_of(tmp_path, entry).get("remote")
        else:
            assert "answered 429: slow down" in reason_of(tmp_path, entry)
        assert {asked.headers["content-type"] for asked in server.log} == {"application/json"}


def test_the_version_that_the_operator_writes_is_part_of_the_digest(tmp_path: Path) -> None:
    with loopback(answering(classes_in)) as server:
        digests = {
            collection_of(tmp_path, remote(server.url, NAMED, f'version = "{version}"')).get("remote").digest
            for version in ("1", "2", "2")
        }
    assert len(digests) == 2
