"""The whole, over real HTTP: front end, Valkey, a worker process, the shipped model."""

import base64
import io
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image
from skimage import data

from tests.conftest import SAMPLES
from tests.support.api_requests import explain
from tests.support.hostile_images import encoded, picture, unusual


def test_a_photograph_becomes_a_map_that_lights_up_the_shape(http: httpx2.Client, star: bytes) -> None:
    answer = explain(http, star)
    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=60"
    body = answer.json()
    assert body["status"] == "succeeded"
    target = body["targets"][0]
    assert target["name"] == "star"
    assert target["reliability"] >= 0.95
    assert body["provenance"]["stopped"] == "reliable"
    array = np.load(io.BytesIO(http.get(target["links"]["npy"]).content))
    width, height = Image.open(io.BytesIO(star)).size
    assert array.shape == (height, width)
    assert array.dtype == np.float32
    row, column = np.unravel_index(array.argmax(), array.shape)
    assert abs(target["peak"][0] - column) < width / 20
    assert abs(target["peak"][1] - row) < height / 20


def test_every_format_of_a_map_has_the_size_of_the_upload_or_smaller(http: httpx2.Client, star: bytes) -> None:
    links = explain(http, star).json()["targets"][0]["links"]
    size = Image.open(io.BytesIO(star)).size
    for name in ("png", "overlay"):
        answer = http.get(links[name])
        assert answer.headers["content-type"] == "image/png"
        assert Image.open(io.BytesIO(answer.content)).size == size
        small = Image.open(io.BytesIO(http.get(links[name], params={"max_side": 64, "signed": True}).content))
        assert max(small.size) == 64
    archive = np.load(io.BytesIO(http.get(links["npz"]).content), allow_pickle=False)
    assert archive["map"].shape == archive["standard_error"].shape == size[::-1]
    assert (archive["standard_error"] > 0).any()
    assert json.loads(str(archive["target"]))["name"] == "star"
    assert json.loads(str(archive["parameters"]))["seed"] == 0


@pytest.mark.parametrize(
    ("accept", "magic"),
    [
        ("application/x-npy", b"\x93NUMPY"),
        ("application/x-npz", b"PK"),
        ("image/png", b"\x89PNG"),
        ("*/*", b"\x93NUMPY"),
    ],
)
def test_a_map_without_an_ending_comes_as_the_client_accepts_it(
    http: httpx2.Client, star: bytes, accept: str, magic: bytes
) -> None:
    here = explain(http, star).json()["links"]["self"]
    assert http.get(f"{here}/maps/0", headers={"Accept": accept}).content.startswith(magic)
    assert http.get(f"{here}/maps/0", headers={"Accept": "text/html"}).status_code == 406


def test_the_image_comes_back_as_it_was_uploaded(http: httpx2.Client, star: bytes) -> None:
    answer = http.get(explain(http, star).json()["links"]["image"])
    assert answer.content == star
    assert answer.headers["content-type"] == "image/jpeg"


def test_a_lying_image_comes_back_upright(http: httpx2.Client) -> None:
    content, size = unusual()["exif-rotated"]
    answer = http.get(explain(http, content, masks=1, until=1).json()["links"]["image"])
    assert answer.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(answer.content)).size == size


def test_the_same_number_written_differently_is_the_same_request(http: httpx2.Client, star: bytes) -> None:
    ids = {
        explain(http, star, seed=55, masks=masks, until=until).json()["id"]
        for masks, until in ((256, 1), ("256.0", "1.0"))
    }
    assert len(ids) == 1


def test_a_form_takes_truth_as_json_writes_it_and_as_python_does(http: httpx2.Client, star: bytes) -> None:
    bodies = [explain(http, star, seed=56, masks=256, shrink=word).json() for word in ("true", "True")]
    assert [body["parameters"]["shrink"] for body in bodies] == [True, True]
    assert bodies[0]["id"] == bodies[1]["id"]
    assert explain(http, star, seed=56, shrink="yes").status_code == 422


def test_json_with_base64_means_the_same_as_a_form(http: httpx2.Client, star: bytes) -> None:
    form = explain(http, star, seed=5, targets='[{"label": "ring"}]').json()
    body = {
        "model": "shapes",
        "seed": 5,
        "targets": [{"label": "ring"}],
        "image": {"base64": base64.b64encode(star).decode()},
    }
    answer = http.post("/v1/explanations", json=body)
    assert answer.status_code == 200
    assert answer.json()["id"] == form["id"]
    assert answer.json()["targets"][0]["name"] == "ring"


def test_the_same_request_twice_is_one_explanation_and_one_run(http: httpx2.Client, star: bytes) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: explain(http, star, seed=77), range(8)))
    bodies = [answer.json() for answer in answers]
    assert {body["id"] for body in bodies} == {bodies[0]["id"]}
    assert {body["started_at"] for body in bodies} == {bodies[0]["started_at"]}
    assert explain(http, star, seed=77).json()["finished_at"] == bodies[0]["finished_at"]
    assert explain(http, star, seed=78).json()["id"] != bodies[0]["id"]


def test_creating_does_not_wait_unless_asked_and_says_where_to_look(http: httpx2.Client, star: bytes) -> None:
    answer = explain(http, star, headers={}, seed=11)
    assert answer.status_code == 202
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json()["status"] in {"queued", "running"}
    here = answer.headers["location"]
    assert http.get(here, params={"wait": 60}).json()["status"] == "succeeded"


def test_all_targets_come_from_one_pass(http: httpx2.Client, star: bytes) -> None:
    body = explain(http, star, targets="top:6", masks=512, until=1).json()
    assert [target["index"] for target in body["targets"]] == list(range(6))
    scores = [target["score"] for target in body["targets"]]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1, abs=1e-5)
    assert body["provenance"]["masks_used"] == 512
    maps = [np.load(io.BytesIO(http.get(target["links"]["npy"]).content)) for target in body["targets"]]
    assert np.allclose(np.sum(maps, axis=0), 0, atol=1e-4)  # what one class gains the others lose


def test_the_published_estimator_can_be_asked_for(http: httpx2.Client, star: bytes) -> None:
    body = explain(http, star, estimator="paper", masks=512, until=1).json()
    array = np.load(io.BytesIO(http.get(body["targets"][0]["links"]["npy"]).content))
    assert array.min() > 0  # uncentred: it adds up scores
    assert array.max() <= 1


def test_a_long_explanation_shows_progress_and_its_running_map_and_can_be_cancelled(
    http: httpx2.Client, star: bytes
) -> None:
    here = explain(http, star, headers={}, masks=1_000_000, until=1).headers["location"]
    for _ in range(600):
        body = http.get(here, params={"wait": 0.1}).json()
        if body["progress"] and body["targets"]:
            break
    assert body["status"] == "running"
    assert 0 < body["progress"]["masks"] < body["progress"]["total"] == 1_000_064 // 128 * 128
    assert body["progress"]["eta_seconds"] > 0
    assert http.get(f"{here}/maps/0.npy").status_code == 200
    cancelled = http.post(f"{here}/cancel")
    assert cancelled.status_code == 202
    assert cancelled.json()["status"] == "cancelled"
    assert cancelled.json()["progress"]["masks"] > 0
    listed = next(item for item in http.get("/v1/explanations").json() if item["links"]["self"] == here)
    assert cancelled.json()["progress"]["eta_seconds"] is listed["progress"]["eta_seconds"] is None
    assert explain(http, star, seed=12, masks=256, until=1).json()["status"] == "succeeded"  # the worker is free again
    assert http.get(here).json()["status"] == "cancelled"


def test_a_reader_can_wait_longer_than_one_reply_of_the_server(http: httpx2.Client, star: bytes) -> None:
    here = explain(http, star, headers={}, masks=1_000_000, until=1, seed=41).headers["location"]
    answer = http.get(here, params={"wait": 7})
    assert answer.status_code == 200
    assert answer.json()["status"] == "running"
    http.post(f"{here}/cancel")


def test_a_queued_explanation_waits_its_turn_and_can_be_cancelled(http: httpx2.Client, star: bytes) -> None:
    first = explain(http, star, headers={}, masks=1_000_000, until=1, seed=21).json()
    second = explain(http, star, headers={}, masks=1_000_000, until=1, seed=22).json()
    third = explain(http, star, headers={}, masks=1_000_000, until=1, seed=23).json()
    assert third["queue_position"] >= 1
    assert http.get(f"{third['links']['self']}/maps/0.npy").status_code == 409
    for body in (third, second, first):
        assert http.post(body["links"]["cancel"]).json()["status"] == "cancelled"


def test_an_explanation_that_was_cancelled_runs_when_it_is_asked_for_again(http: httpx2.Client, star: bytes) -> None:
    here = explain(http, star, headers={}, masks=100_000, until=1, seed=31).headers["location"]
    http.post(f"{here}/cancel")
    answer = explain(http, star, headers={}, masks=100_000, until=1, seed=31)
    assert answer.status_code == 202
    assert answer.headers["location"] == here
    http.post(f"{here}/cancel")


def test_predict_says_what_can_be_explained(http: httpx2.Client, star: bytes) -> None:
    answer = http.post("/v1/models/shapes/predict", files={"image": star}, params={"limit": 3})
    assert answer.status_code == 200
    assert answer.json()[0]["name"] == "star"
    assert len(answer.json()) == 3


def test_the_catalogue_says_what_there_is(http: httpx2.Client) -> None:
    model = next(model for model in http.get("/v1/models").json() if model["id"] == "shapes")
    assert model["state"] == "ready"
    assert model["labels"] == ["circle", "square", "triangle", "star", "cross", "ring"]
    methods = http.get("/v1/methods").json()
    rise = next(method for method in methods if method["id"] == "rise")
    assert rise["parameters"]["properties"]["masks"]["default"] == 4000
    assert all("description" in schema for schema in rise["parameters"]["properties"].values())
    assert "blur" in http.get("/v1/fills").json()


def test_it_says_that_it_lives_and_is_ready(http: httpx2.Client) -> None:
    assert http.get("/livez").json() == {"status": "alive"}
    assert http.get("/readyz").json()["ready"] is True


def test_the_samples_that_ship_are_explained_as_what_they_show(http: httpx2.Client) -> None:
    for name in ("star", "ring"):
        body = explain(http, (SAMPLES / f"{name}.jpg").read_bytes()).json()
        assert body["targets"][0]["name"] == name


def test_a_grey_picture_gets_a_map_like_any_other(http: httpx2.Client) -> None:
    body = explain(http, encoded(picture(mode="L"), "PNG"), masks=256, until=1).json()
    assert body["status"] == "succeeded"


def test_a_finished_map_can_be_measured_with_its_protocol(http: httpx2.Client, star: bytes) -> None:
    here = explain(http, star).json()["links"]["self"]
    body = http.post(f"{here}/metrics", json={"steps": 32, "substrate": "grey"}).json()
    assert set(body) == {"deletion", "insertion", "average-drop"}
    assert body["deletion"]["value"] < body["insertion"]["value"]
    assert body["deletion"]["protocol"]["substrate"] == "grey"
    assert len(body["insertion"]["curve"]["scores"]) == 33
    assert http.post(f"{here}/metrics", json={"metrics": ["pointing-game"]}).json()["code"] == "no-target"
    assert http.post(f"{here}/metrics", json={"substrate": "plaid"}).json()["code"] == "unknown-name"
    assert http.post(f"{here}/metrics", json={"target": 9}).status_code == 422
    assert http.post(f"{here}/metrics", json={"what": 1}).status_code == 422


def test_colors_are_explained_side_by_side_on_one_scale_and_in_words(http: httpx2.Client, star: bytes) -> None:
    colors = '["#ff0000", "#0000ff", "black"]'
    body = explain(http, star, method="mc-rise", colors=colors, masks=1500, until=1).json()
    assert body["status"] == "succeeded", body
    target = body["targets"][0]
    width, height = Image.open(io.BytesIO(star)).size
    array = np.load(io.BytesIO(http.get(target["links"]["npy"]).content))
    assert array.shape == (3, height, width)
    assert "'star' by" in target["findings"][0]
    picture = Image.open(io.BytesIO(http.get(target["links"]["overlay"]).content))
    assert picture.width > 3 * width
    assert picture.height > height


def test_a_detector_is_explained_by_default_box_by_box(http: httpx2.Client) -> None:
    several = (SAMPLES / "several.jpg").read_bytes()
    found = http.post("/v1/models/shapes-detector/predict", files={"image": several}).json()
    body = explain(http, several, model="shapes-detector", masks=1024, until=1).json()
    assert body["status"] == "succeeded", body
    assert body["method"] == "drise"
    assert len(body["targets"]) >= 3
    assert body["targets"][0]["box"] == pytest.approx(found[0]["box"], abs=0.01)
    for target in body["targets"]:
        x0, y0, x1, y1 = target["box"]
        assert x0 - 10 <= target["peak"][0] <= x1 + 10
        assert y0 - 10 <= target["peak"][1] <= y1 + 10
        assert target["matched"] > 0


def test_a_detector_s_grid_is_chosen_by_its_smallest_target_and_told(http: httpx2.Client, star: bytes) -> None:
    body = explain(http, star, model="shapes-detector", grid="auto", targets="top:1").json()
    assert body["status"] == "succeeded", body
    x0, y0, x1, y1 = body["targets"][0]["box"]
    image, (rows, columns), tiles = body["image"], body["provenance"]["grid"], body["provenance"]["tiles"]
    smallest = min((x1 - x0) / image["width"], (y1 - y0) / image["height"])
    assert rows == columns
    assert rows in range(6, 17, 2)
    assert rows == 16 or rows * smallest >= 3
    assert tiles <= rows * columns
    told = rows if tiles == rows * columns else "auto"  # because what is posted again must give the same map
    assert body["parameters"]["grid"] == told
    archive = np.load(io.BytesIO(http.get(body["targets"][0]["links"]["npz"]).content))
    assert json.loads(str(archive["parameters"]))["grid"] == told
    assert explain(http, star, model="shapes-detector", targets="top:1").json()["id"] == body["id"], "it is the default"
    assert explain(http, star, model="shapes", grid="auto").json()["code"] == "invalid-parameters", "boxes are needed"


def test_a_detector_that_finds_nothing_fails_with_a_reason_that_a_user_understands(http: httpx2.Client) -> None:
    empty = encoded(Image.new("RGB", (200, 150), (120, 120, 120)), "PNG")
    body = explain(http, empty, model="faces").json()
    assert body["status"] == "failed"
    assert body["error"]["code"] == "no-target"
    assert "detects nothing" in body["error"]["detail"]


def test_a_detector_without_a_tensor_is_explained_and_the_map_of_the_face_lies_on_the_face(
    http: httpx2.Client,
) -> None:
    astronaut: Any = data.astronaut
    photograph = encoded(Image.fromarray(astronaut()), "PNG")
    body = explain(http, photograph, model="faces", grid=8, masks=256, until=1, targets="top:1").json()
    assert body["status"] == "succeeded", body
    x, y = body["targets"][0]["peak"]
    assert 170 <= x <= 270
    assert 65 <= y <= 165
