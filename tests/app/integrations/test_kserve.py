"""KServe's `:explain`: pictures in, saliency out, by `rise-serve kserve` in front of a predictor that tests control."""

import base64
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from jsonschema import Draft202012Validator
from PIL import Image
from scipy.ndimage import binary_fill_holes

from bench.demo_training.batches import Recipe, draw_held_out_pictures
from bench.demo_training.pictures import draw_one_object
from tests.conftest import SAMPLES
from tests.support.hostile_images import refused
from tests.support.kserve_process import explainer
from tests.support.loopback import Loopback, Reply
from tests.workers.models.inference_server import Array, ServedModel, serve
from tests.workers.models.served_shapes import LABELS, PREPROCESSING, SHAPE, classify

EXPLAIN = "/v1/models/shapes:explain"
QUICK = {"masks": 256, "until": 1}
WHITE = 2.0  # what a white pixel is after the model's normalisation
OF_THE_OPERATOR = "Bearer token-of-the-operator"


@dataclass(frozen=True)
class Predictor:
    """A predictor whose gate can be closed, and which fails on white pictures.

    Attributes:
        server: what it was asked.
        gate: it answers while this is set.
    """

    server: Loopback
    gate: threading.Event = field(default_factory=threading.Event)

    def asked(self) -> int:
        return len(self.server.asked("/v2/models/shapes/infer"))


@pytest.fixture(scope="module")
def predictor() -> Iterator[Predictor]:
    gate = threading.Event()
    gate.set()

    def trouble(_: int, pictures: Array, outputs: dict[str, Array]) -> Reply | dict[str, Array]:
        gate.wait(60)
        white = (pictures >= WHITE).all(axis=(1, 2, 3)).any()
        return Reply(b'{"error": "blinded"}', 500) if white else outputs

    with serve({"shapes": ServedModel(classify, SHAPE, trouble=trouble)}) as server:
        yield Predictor(server, gate)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("explainer")


@pytest.fixture(scope="module")
def http(predictor: Predictor, folder: Path) -> Iterator[httpx2.Client]:
    models = folder / "models.toml"
    models.write_text(f"[shapes]\nlabels = {LABELS}\nlimits = {{ batch = 16 }}\n{PREPROCESSING}\n")
    host = predictor.server.url.removeprefix("http://")
    arguments = ["--model_name", "shapes", "--predictor_host", host, "--models", str(models), "--workers", "0"]
    later = ["--enable_grpc", "false", "--max_threads=4"]  # of some later controller
    token = {"RISE_PREDICTOR_AUTHORIZATION": OF_THE_OPERATOR}
    with (
        explainer(folder, *arguments, *later, **token) as url,
        httpx2.Client(base_url=url, timeout=100) as client,
    ):
        yield client


@contextmanager
def closed(gate: threading.Event) -> Iterator[None]:
    gate.clear()
    try:
        yield
    finally:
        gate.set()


def shape() -> tuple[Array, Array]:
    """Return a picture `[H, W, 3]` with one shape on it that training never saw, and where it lies."""
    (picture,) = draw_held_out_pictures(Recipe(draw_one_object, side=96), 1, seed=2_026)
    return picture.image, np.asarray(binary_fill_holes(picture.objects[0].mask))


def file(pixels: Array, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def b64(content: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(content).decode()}


def explained(http: httpx2.Client, *instances: Any, **parameters: Any) -> list[dict[str, Any]]:
    answer = http.post(EXPLAIN, json={"instances": instances, "parameters": {**QUICK, **parameters}})
    assert answer.status_code == 200, answer.text
    explanations: list[dict[str, Any]] = answer.json()["explanations"]
    assert len(explanations) == len(instances)
    return explanations


def first_map(explanation: dict[str, Any]) -> Array:
    return np.array(explanation["targets"][0]["map"])


def test_a_picture_is_explained_by_the_shape_on_it(http: httpx2.Client) -> None:
    pixels, inside = shape()
    (found,) = explained(http, b64(file(pixels)), max_side=96, masks=1000)
    target, values = found["targets"][0], first_map(found)
    assert values.shape == (96, 96)
    assert inside[np.unravel_index(values.argmax(), values.shape)]
    x, y = target["peak"]
    assert inside[int(y), int(x)]
    assert target["score"] > 0.5
    assert 0 < target["reliability"] <= 1


def test_nested_numbers_have_the_map_of_a_file_of_the_same_pixels(http: httpx2.Client) -> None:
    pixels, _ = shape()
    grey = pixels[:, :, 1]
    colored = [b64(file(pixels)), {"image": b64(file(pixels))}, pixels.tolist(), (pixels / 255).tolist()]
    of_file, *others = [first_map(found) for found in explained(http, *colored, {"image": pixels.tolist()})]
    assert all(np.array_equal(of_file, other) for other in others)
    of_grey, *others = [
        first_map(found)
        for found in explained(http, b64(file(grey)), grey.tolist(), grey[:, :, None].tolist(), (grey / 255).tolist())
    ]
    assert all(np.array_equal(of_grey, other) for other in others)
    assert not np.array_equal(of_file, of_grey)


def test_the_same_instance_is_explained_once(http: httpx2.Client, predictor: Predictor, star: bytes) -> None:
    (one,) = explained(http, b64(star), seed=11)
    asked = predictor.asked()
    (other,) = explained(http, b64(star), seed=11, map="none")
    assert one["id"] == other["id"]
    assert predictor.asked() == asked


def test_the_parameters_are_those_of_the_service(http: httpx2.Client, star: bytes) -> None:
    (found,) = explained(http, b64(star), targets=[{"label": "ring"}, {"label": "star"}], grid=6, fill="blur")
    assert [target["name"] for target in found["targets"]] == ["ring", "star"]
    assert found["parameters"]["grid"] == 6
    assert found["parameters"]["fill"] == "blur"
    (both,) = explained(http, b64(star), method="mc-rise", colors=["#ff0000", "#0000ff"], max_side=16)
    assert first_map(both).shape == (2, 12, 16)


def test_maps_come_as_numbers_as_files_or_not_at_all(http: httpx2.Client, star: bytes) -> None:
    asked: dict[str, dict[str, Any]] = {
        "list": {"max_side": 32, "standard_error": True},
        "npy": {"max_side": 32},
        "png": {"max_side": 32},
        "overlay": {},
        "none": {},
    }
    shown = {
        kind: explained(http, b64(star), map=kind, masks=512, **more)[0]["targets"][0] for kind, more in asked.items()
    }
    values = np.array(shown["list"]["map"])
    assert values.shape == np.array(shown["list"]["standard_error"]).shape == (24, 32)
    array = np.load(io.BytesIO(base64.b64decode(shown["npy"]["map"]["b64"])))
    assert np.allclose(values, array, atol=np.abs(array).max() / 1000)
    assert Image.open(io.BytesIO(base64.b64decode(shown["png"]["map"]["b64"]))).size == (32, 24)
    assert Image.open(io.BytesIO(base64.b64decode(shown["overlay"]["map"]["b64"]))).size == (480, 360)
    assert shown["none"]["map"] is None
    assert shown["npy"]["standard_error"] is None


def test_links_lead_to_the_service_behind(http: httpx2.Client, star: bytes) -> None:
    (found,) = explained(http, b64(star))
    assert http.get(found["links"]["self"]).json()["status"] == "succeeded"
    array = np.load(io.BytesIO(http.get(found["targets"][0]["links"]["npy"]).content))
    assert array.shape == (360, 480)


def test_what_is_not_finished_in_time_is_found_finished_later(
    http: httpx2.Client, predictor: Predictor, star: bytes
) -> None:
    body = {"instances": [b64(star)], "parameters": {**QUICK, "seed": 23, "wait": 0.2}}
    with closed(predictor.gate):
        late = http.post(EXPLAIN, json=body)
    assert late.status_code == 504
    assert late.json()["error"]
    assert late.json()["job_ids"] == [late.json()["job_id"]]
    (found,) = explained(http, b64(star), seed=23)
    assert found["id"] == late.json()["job_id"]
    assert found["status"] == "succeeded"


def test_one_instance_that_fails_takes_no_other_with_it(http: httpx2.Client, star: bytes) -> None:
    white = file(np.full((96, 96, 3), 255, dtype=np.uint8))
    one, other = explained(http, b64(white), b64(star))
    assert (one["status"], other["status"]) == ("failed", "succeeded")
    assert one["targets"] == []
    assert "blinded" in one["error"]["detail"]
    assert first_map(other).size
    alone = http.post(EXPLAIN, json={"instances": [b64(white)], "parameters": QUICK})
    assert alone.status_code == 502
    assert alone.headers["content-type"] == "application/json"
    assert "blinded" in alone.json()["error"]


def test_a_model_says_whether_it_is_ready(http: httpx2.Client) -> None:
    assert http.get("/v1/models").json() == {"models": ["shapes"]}
    assert http.get("/v1/models/shapes").json() == {"name": "shapes", "ready": True}
    unknown = http.get("/v1/models/others"), http.post("/v1/models/others:explain", json={"instances": [[[1, 2]]]})
    assert [answer.status_code for answer in unknown] == [404, 404]
    assert all(list(answer.json()) == ["error"] for answer in unknown)


def test_the_predictor_gets_the_id_of_a_request_and_the_operators_token(
    http: httpx2.Client, predictor: Predictor, folder: Path, star: bytes
) -> None:
    before = predictor.asked()
    headers = {"x-request-id": "from-the-client", "authorization": "Bearer secret-of-the-client"}
    body = {"instances": [b64(star)], "parameters": {**QUICK, "seed": 41}}
    answer = http.post(EXPLAIN, json=body, headers=headers)
    assert answer.headers["x-request-id"] == "from-the-client"
    asked = predictor.server.asked("/v2/models/shapes/infer")[before:]
    assert {one.headers["x-request-id"] for one in asked} == {"from-the-client"}
    assert {one.headers["authorization"] for one in predictor.server.log} == {OF_THE_OPERATOR}
    kept = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert b"from-the-client" in kept
    assert b"secret-of-the-client" not in kept


def test_the_document_describes_what_is_answered(http: httpx2.Client, star: bytes) -> None:
    document = http.get("/openapi.json").json()
    operation = document["paths"]["/v1/models/{model}:explain"]["post"]
    request = operation["requestBody"]["content"]["application/json"]["schema"]
    body = {"instances": [b64(star), {"image": b64(star)}, [[0, 2]], [[[1, 2, 3]]]], "parameters": QUICK}
    components = {"components": document["components"]}
    assert not list(Draft202012Validator({**request, **components}).iter_errors(body))
    assert list(Draft202012Validator({**request, **components}).iter_errors({"instances": [{"url": "x"}]}))
    answer = {"$ref": "#/components/schemas/ExplainResponse", **components}
    for kind in ("list", "npy", "none"):
        found = {"explanations": explained(http, b64(star), map=kind, standard_error=True)}
        assert not list(Draft202012Validator(answer).iter_errors(found))


REFUSED: dict[str, tuple[Any, int, str]] = {
    "no instances": ({}, 422, "instances"),
    "an empty list": ({"instances": []}, 422, "a list of 1 to 32"),
    "too many": ({"instances": [[[2]]] * 33}, 422, "a list of 1 to 32"),
    "another field": ({"instances": [[[2]]], "inputs": []}, 422, "inputs: "),
    "an address": ({"instances": [{"url": "http://127.0.0.1"}]}, 422, "instances/0: write it as"),
    "no base64": ({"instances": [[[2]], {"b64": "?"}]}, 422, "instances/1: this is not base64"),
    "text for a picture": ({"instances": ["star"]}, 422, "instances/0: write it as"),
    "channels first": ({"instances": [np.ones((3, 8, 8)).tolist()]}, 422, "3 x 8 x 8 numbers are no picture"),
    "one row": ({"instances": [[1, 2, 3]]}, 422, "3 numbers are no picture"),
    "no pixels": ({"instances": [[[], []]]}, 422, "instances/0: "),
    "ragged rows": ({"instances": [[[1, 2], [3]]]}, 422, "the same length"),
    "levels beyond 255": ({"instances": [[[256]]]}, 422, "from 0 to 256"),
    "shares beyond 1": ({"instances": [[[0.5, 1.5]]]}, 422, "from 0 to 1.5"),
    "below nothing": ({"instances": [[[-1, 5]]]}, 422, "from -1 to 5"),
    "levels or shares": ({"instances": [[[0, 1], [1, 0]]]}, 422, "write 0.0 and 1.0"),
    "texts for numbers": ({"instances": [[["1", "2"]]]}, 422, "a list of rows"),
    "truth for numbers": ({"instances": [[[True, False]]]}, 422, "a list of rows"),
    "numbers beyond all": ({"instances": [[[10**400]]]}, 422, "the same length"),
    "parameters of nothing": ({"instances": [[[2]]], "parameters": {"colour": 1}}, 422, "colour"),
    "parameters as a list": ({"instances": [[[2]]], "parameters": []}, 422, "parameters: write an object"),
    "another model": ({"instances": [[[2]]], "parameters": {"model": "x"}}, 422, "the address says it"),
    "an unknown label": ({"instances": [[[2]]], "parameters": {"targets": [{"label": "dog"}]}}, 422, "dog"),
    "an unknown map": ({"instances": [[[2]]], "parameters": {"map": "jpg"}}, 422, "overlay"),
    "a huge map": ({"instances": [[[2]]], "parameters": {"max_side": 5000}}, 422, "less than or equal to 512"),
    "a callback": ({"instances": [[[2]]], "parameters": {"callback": "https://x.example"}}, 403, "RISE_WEBHOOK_SECRET"),
    "no JSON": (b"instances", 400, "not JSON"),
    "a list": (b"[]", 400, "not a JSON object"),
    "half a character": (b'{"instances": [{"b64": "\\ud800"}]}', 400, "not JSON"),
    "lists without end": (b"[" * 200_000, 400, "not JSON"),
    "objects without end": (b'{"instances":' * 100_000, 400, "not JSON"),
    "instances without end": (b'{"instances":' + b"[" * 100_000, 400, "not JSON"),
    "deep numbers": ({"instances": [[[[[[[[1]]]]]]]]}, 422, "a list of rows"),
    "many numbers": (b'{"instances":[[' + b"1," * 2_000_000 + b"1]]}", 413, "at most 2,000,000 numbers"),
    "many lists": (b'{"instances":[[' + b"[]," * 1_000_000 + b"[]]]}", 413, "at most 2,000,000 numbers"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_nobody_can_explain_is_refused_in_kserves_words(kind: str, http: httpx2.Client) -> None:
    body, status, words = REFUSED[kind]
    sent = {"content": body} if isinstance(body, bytes) else {"json": body}
    answer = http.post(EXPLAIN, **sent)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["error"]
    assert words in answer.json()["error"]


@pytest.mark.parametrize("kind", refused())
def test_files_that_are_no_pictures_are_refused_with_their_place(kind: str, http: httpx2.Client) -> None:
    good = b64((SAMPLES / "star.jpg").read_bytes())
    answer = http.post(EXPLAIN, json={"instances": [good, b64(refused()[kind])], "parameters": QUICK})
    assert answer.status_code in {413, 422}
    assert answer.json()["error"].startswith("instances/1: ")


def test_a_body_that_no_picture_can_fill_is_refused_before_it_is_read(http: httpx2.Client) -> None:
    content = b'{"instances": [{"b64": "' + b"A" * 30_000_000
    for body in (content, iter([content])):  # of a length that is said before, and of one that nobody knows
        answer = http.post(EXPLAIN, content=body)
        assert answer.status_code == 413
        assert "30" in answer.json()["error"] or "large" in answer.json()["error"].lower()


def test_an_answer_holds_so_many_numbers_and_no_more(http: httpx2.Client, star: bytes) -> None:
    asked = {"targets": "top:6", "max_side": 512, "standard_error": True, "masks": 128}
    found = explained(http, *[b64(star)] * 20, **asked)
    maps = [np.array(target["map"]) for each in found for target in each["targets"] if target["map"] is not None]
    assert len(maps) == 100
    assert 1_000_000 < 2 * sum(values.size for values in maps) <= 2_000_000
    assert all(target["links"]["npy"] for each in found for target in each["targets"])
