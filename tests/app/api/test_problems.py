"""What the service does not accept, it refuses in words, and goes on."""

import io
import json
from typing import Any

import httpx2
import numpy as np
import pytest

from tests.conftest import SAMPLES
from tests.support.api_requests import explain
from tests.support.hostile_images import mutilated, refused, unusual

WAIT = {"Prefer": "wait=60"}


def test_a_model_that_is_not_there_is_not_found_where_the_address_names_it(http: httpx2.Client, star: bytes) -> None:
    answer = http.post("/v1/models/nobody/predict", files={"image": star})
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    assert "shapes-detector" in answer.json()["detail"]


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"model": "nobody"}, "unknown-name", "/model"),
    ({"model": "no such id!"}, "invalid-parameters", "/model"),
    ({"method": "shap"}, "unknown-name", "/method"),
    ({"metod": "rise"}, "unknown-name", "/metod"),
    ({"targets": '[{"label": "dog"}]'}, "unknown-name", "/targets/0/label"),
    ({"targets": '[{"label": 6}]'}, "unknown-name", "/targets/0/label"),
    ({"targets": '[{"label": -1}]'}, "invalid-parameters", "/targets/0/label"),
    ({"targets": '[{"box": [0, 0, 5, 5]}]'}, "invalid-parameters", "/targets/0/box"),
    ({"targets": "[{}]"}, "invalid-parameters", "/targets/0"),
    ({"targets": "top:0"}, "invalid-parameters", "/targets"),
    ({"targets": "[]"}, "invalid-parameters", "/targets"),
    ({"masks": 0}, "invalid-parameters", "/masks"),
    ({"masks": "many"}, "invalid-parameters", "/masks"),
    ({"masks": 10**9}, "invalid-parameters", "/masks"),
    ({"until": 1.5}, "invalid-parameters", "/until"),
    ({"until": "NaN"}, "invalid-parameters", "/until"),
    ({"grid": 0}, "invalid-parameters", "/grid"),
    ({"grid": "[8]"}, "invalid-parameters", "/grid"),
    ({"keep": 1}, "invalid-parameters", "/keep"),
    ({"fill": "plaid"}, "unknown-name", "/fill"),
    ({"fill": "#12345"}, "unknown-name", "/fill"),
    ({"estimator": "exact"}, "unknown-name", "/estimator"),
    ({"seed": -1}, "invalid-parameters", "/seed"),
    ({"seed": 2**63}, "invalid-parameters", "/seed"),
]


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ([10, 20, 5, 60], "corners"),
        ([0, 0, 0, 0], "corners"),
        ([1000, 10, 1100, 60], "480 x 360"),
        ([-50, 10, -20, 60], "480 x 360"),
    ],
)
def test_a_box_in_which_nothing_can_be_found_is_refused_before_anything_runs(
    http: httpx2.Client, box: list[int], said: str
) -> None:
    several = (SAMPLES / "several.jpg").read_bytes()
    answer = explain(
        http, several, model="shapes-detector", targets=json.dumps([{"box": [9, 9, 500, 99]}, {"box": box}])
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-parameters"), answer.text
    (error,) = answer.json()["errors"]
    assert error["field"] == "/targets/1/box"
    assert said in error["detail"]


@pytest.mark.parametrize(("fields", "code", "pointer"), WRONG)
def test_a_wrong_field_is_named_with_what_is_allowed(
    http: httpx2.Client, star: bytes, fields: dict[str, Any], code: str, pointer: str
) -> None:
    answer = explain(http, star, **fields)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == code
    assert problem["instance"] == "/v1/explanations"
    assert any(error["field"].startswith(pointer) for error in problem["errors"])
    assert len(problem["detail"]) < 500


def test_requests_that_are_not_requests_are_refused(http: httpx2.Client, star: bytes) -> None:
    create = "/v1/explanations"
    assert http.post(create, content=b"x", headers={"Content-Type": "text/plain"}).status_code == 415
    assert http.post(create, content=b"{", headers={"Content-Type": "application/json"}).status_code == 400
    assert http.post(create, json=[]).status_code == 400
    assert http.post(create, json={"model": "shapes"}).json()["errors"][0]["field"] == "/image"
    assert http.post(create, json={"model": "shapes", "image": {"base64": "!"}}).status_code == 422
    assert http.post(create, data={"model": "shapes", "image": "text"}).status_code in {415, 422}
    assert http.post(create, files={"image": star}).json()["errors"][0]["field"] == "/model"
    assert http.get("/v1/explanations/nobody").json()["code"] == "not-found"
    assert http.get("/nowhere").json()["code"] == "not-found"
    assert http.delete("/livez").json()["code"] == "method-not-allowed"


def test_a_body_over_the_limit_is_refused_before_it_is_read_whole(http: httpx2.Client) -> None:
    answer = explain(http, b"\xff\xd8\xff" + b"\0" * 40_000_000)
    assert answer.status_code == 413
    assert answer.json()["code"] in {"request-too-large", "image-too-large"}


@pytest.mark.slow
def test_two_hundred_hostile_uploads_get_a_right_answer_or_a_problem_and_the_next_good_one_works(
    http: httpx2.Client, star: bytes
) -> None:
    for name, content in refused().items():
        answer = explain(http, content, masks=1)
        assert answer.status_code in {413, 422}, name
        assert answer.json()["code"] in {"unreadable-image", "image-too-large"}, name
    for name, (content, (width, height)) in unusual().items():
        body = explain(http, content, masks=1, until=1).json()
        assert body["status"] == "succeeded", name
        assert (body["image"]["width"], body["image"]["height"]) == (width, height), name
        array = np.load(io.BytesIO(http.get(body["targets"][0]["links"]["npy"]).content))
        assert array.shape == (height, width), name
        assert http.get(body["targets"][0]["links"]["overlay"]).status_code == 200, name
    for content in mutilated(200 - len(refused()) - len(unusual())):
        answer = explain(http, content, masks=1, until=1)
        assert answer.status_code < 500
        assert answer.status_code >= 400 or answer.json()["status"] == "succeeded"
    assert explain(http, star, masks=256, seed=99).json()["status"] == "succeeded"


def test_maps_are_asked_for_by_index_and_known_ending(http: httpx2.Client, star: bytes) -> None:
    here = explain(http, star).json()["links"]["self"]
    for name in ("1.npy", "0.exe", "0.", "-1.npy", "x.npy", "99999999.npy", "0.npy.npy"):
        assert http.get(f"{here}/maps/{name}").status_code == 404, name
    assert http.get(f"{here}/maps/0.png", params={"cmap": "no-such-map"}).status_code == 422
    assert http.get(f"{here}/maps/0.png", params={"max_side": 0}).status_code == 422


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "code", "field"),
    [
        ("POST", "/metrics", b'{"metrics": ["beauty"]}', 422, "invalid-parameters", "/metrics/0"),
        ("POST", "/metrics", b'{"metrics": ', 400, "malformed-request", None),
        ("GET", "?wait=-1", None, 422, "invalid-parameters", "/wait"),
    ],
)
def test_every_route_names_a_field_in_the_same_way(
    http: httpx2.Client, method: str, path: str, content: bytes | None, status: int, code: str, field: str | None
) -> None:
    headers = {"Content-Type": "application/json"} if content else {}
    answer = http.request(method, f"/v1/explanations/x{path}", content=content, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert [error["field"] for error in answer.json()["errors"]] == ([field] if field else [])


def test_a_question_about_a_map_is_json_and_is_told_so(http: httpx2.Client) -> None:
    answer = http.post("/v1/explanations/x/metrics", content=b"{}", headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-media-type")
    assert answer.json()["detail"] == "send application/json, not 'text/plain'"


def test_of_several_files_the_one_at_fault_is_named(http: httpx2.Client, star: bytes) -> None:
    files = [("image", ("a.jpg", star)), ("image", ("b.jpg", b"no picture"))]
    answer = http.post("/v1/images", files=files)
    assert answer.json()["errors"][0]["field"] == "/image/1"
    assert "b.jpg" in answer.json()["detail"]
