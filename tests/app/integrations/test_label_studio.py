"""The ML backend for Label Studio over HTTP: whole services, real workers, and a Label Studio that takes notes."""

import base64
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import numpy as np
import pytest
from fastapi.routing import iter_route_contexts
from numpy.typing import NDArray
from PIL import Image
from redis import Redis

from app.contract.settings import Settings
from app.integrations.label_studio.delayed_tasks import DelayedTasks
from app.main import create_app
from tests.app.integrations.test_brush_rle import decoded
from tests.app.integrations.test_label_config import HOSTILE
from tests.conftest import Service, start_service, stop_service
from tests.support.api_keys import new_key
from tests.support.fake_label_studio import PLAIN, WITH_OVERLAY, FakeStudio, fake_studio
from tests.support.hostile_images import encoded

HERE = "/integrations/label-studio"
TOKEN = "the-token-of-label-studio"
STAR = ((352, 124), 84)
TRIANGLE = ((130, 280), 56)
ALL = {"x": 0, "y": 0, "width": 100, "height": 100}


@dataclass(frozen=True)
class World:
    """A service that is an ML backend, and Label Studio."""

    http: httpx2.Client
    studio: FakeStudio
    service: Service

    def predict(self, task: int, picture: str, config: str = PLAIN, model: str = "", **params: Any) -> httpx2.Response:
        tasks = [{"id": task, "project": 1, "data": {"image": picture}, "annotations": []}]
        body = {"tasks": tasks, "project": "1.17", "label_config": config, "params": {"login": None, **params}}
        return self.http.post(f"{HERE}{model}/predict", json=body)

    def draw(self, picture: str, label: str, rectangle: dict[str, int], **more: Any) -> httpx2.Response:
        drawn = {"type": "rectanglelabels", "value": {**rectangle, "rectanglelabels": [label]}}
        older = {"type": "rectanglelabels", "value": {"x": 1, "y": 1, "width": 2, "height": 2}}
        return self.predict(1, picture, context={"result": [older, drawn]}, **more)


@pytest.fixture(scope="module")
def studio() -> Iterator[FakeStudio]:
    with fake_studio() as found:
        yield found


def wait_until_all_models_are_ready(url: str, key: str = "") -> None:
    deadline = time.monotonic() + 90
    with httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {key}"} if key else {}) as http:
        while any(card["state"] != "ready" for card in http.get("/v1/models").json()):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def settings(studio: FakeStudio, **more: str) -> dict[str, str]:
    return {"RISE_LABEL_STUDIO_URL": studio.url, "RISE_LABEL_STUDIO_API_KEY": TOKEN, **more}


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory, studio: FakeStudio) -> Iterator[World]:
    """A service that waits for explanations, with a detector that overlooks what it is not sure of."""
    detector = {"RISE_LABEL_STUDIO_MODEL": "shapes-detector", "RISE_LABEL_STUDIO_PARAMETERS": '{"threshold": 0.7}'}
    service = start_service(tmp_path_factory.mktemp("patient") / "data", **settings(studio, **detector))
    wait_until_all_models_are_ready(service.url)
    with httpx2.Client(base_url=service.url, timeout=120) as client:
        yield World(client, studio, service)
    stop_service(service)


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory, studio: FakeStudio) -> Iterator[World]:
    """A service with keys that waits for nothing: what is not finished when it is asked for comes later."""
    more = {"RISE_KEYS": "on", "RISE_LABEL_STUDIO_TENANTS": "annotators, others", "RISE_MAX_WAIT_SECONDS": "0"}
    more |= {"RISE_LABEL_STUDIO_MODEL": "shapes", "RISE_LABEL_STUDIO_LABELS": '{"star": "Ring"}'}
    service = start_service(tmp_path_factory.mktemp("hurried") / "data", **settings(studio, **more))
    secret = new_key(service, "label studio", "--tenant", "annotators")
    wait_until_all_models_are_ready(service.url, secret)
    with httpx2.Client(base_url=service.url, auth=("anything", secret), timeout=120) as client:
        yield World(client, studio, service)
    stop_service(service)


def regions(prediction: Any, kind: str) -> list[Any]:
    return [region for region in prediction["result"] if region["type"] == kind]


def mask_of(region: Any) -> NDArray[np.bool_]:
    pixels = decoded(region["value"]["rle"], region["original_height"], region["original_width"])
    return np.asarray(pixels[..., 3] > 0)


def share_on(mask: NDArray[np.bool_], shape: tuple[tuple[int, int], int]) -> float:
    """Return which share of a mask lies on a shape or close around it."""
    (column, row), radius = shape
    rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]]
    around = (rows - row) ** 2 + (columns - column) ** 2 <= (1.3 * radius) ** 2
    return float((mask & around).sum() / mask.sum())


def test_the_backend_says_that_it_is_up_and_which_version_of_the_model_it_has(patient: World) -> None:
    for path in ("", "/health", "/shapes/health"):
        assert patient.http.get(f"{HERE}{path}").json()["status"] == "UP"
    body = {"project": "1.17", "schema": PLAIN, "hostname": "x", "access_token": "somebody's", "extra_params": None}
    versions = [patient.http.post(f"{HERE}{path}/setup", json=body).json() for path in ("", "/shapes-detector", "")]
    assert versions[0] == versions[1] == versions[2]
    assert versions[0]["model_version"].startswith("shapes-detector-")
    assert patient.http.get(f"{HERE}/versions").json() == {"versions": [versions[0]["model_version"]]}


def test_a_task_shows_the_boxes_of_detections_and_masks_on_each(patient: World) -> None:
    (prediction,) = patient.predict(1, "/data/upload/1/several.jpg").json()["results"]
    boxes, masks = regions(prediction, "rectanglelabels"), regions(prediction, "brushlabels")
    assert [box["value"]["rectanglelabels"] for box in boxes] == [["Star"], ["Star"]]
    assert 0.7 < prediction["score"] <= 1
    assert [mask["value"]["brushlabels"] for mask in masks] == [["80 %"], ["50 %"]] * 2
    for box, (centre, radius) in zip(boxes, [((345, 80), 48), ((95, 95), 58)], strict=True):
        value = box["value"]
        middle = (value["x"] + value["width"] / 2) * 4.8, (value["y"] + value["height"] / 2) * 3.6
        assert np.hypot(middle[0] - centre[0], middle[1] - centre[1]) < radius / 3
    assert share_on(mask_of(masks[1]), ((345, 80), 48)) > 0.9
    assert share_on(mask_of(masks[3]), ((95, 95), 58)) > 0.9
    for large, small in (masks[:2], masks[2:]):
        assert (mask_of(small) & ~mask_of(large)).sum() == 0


def test_what_the_model_has_missed_is_explained_where_the_annotator_draws_it(patient: World) -> None:
    drawn = {"x": 16, "y": 63, "width": 22, "height": 30}
    (answer,) = patient.draw("/data/upload/1/several.jpg", "Triangle", drawn).json()["results"]
    masks = regions(answer, "brushlabels")
    assert [mask["value"]["brushlabels"] for mask in masks] == [["80 %"], ["50 %"]]
    assert share_on(mask_of(masks[1]), TRIANGLE) > 0.8
    assert "triangle" in masks[0]["meta"]["text"][0]


def test_an_image_without_anything_is_answered_with_nothing(patient: World) -> None:
    blank = base64.b64encode(encoded(Image.new("RGB", (64, 48)), "PNG")).decode()
    (prediction,) = patient.predict(1, f"data:image/png;base64,{blank}").json()["results"]
    assert (prediction["result"], prediction["score"]) == ([], 0.0)


@pytest.mark.parametrize("text", [text for text, _ in HOSTILE.values()], ids=HOSTILE)
def test_a_hostile_config_is_refused_by_every_call_that_reads_one(patient: World, text: str) -> None:
    bodies = {
        "setup": {"project": "1.1", "schema": text},
        "predict": {"tasks": [{"id": 1, "data": {"image": "/data/upload/1/star.jpg"}}], "label_config": text},
    }
    for path, body in bodies.items():
        content = json.dumps(body).encode()
        answer = patient.http.post(f"{HERE}/{path}", content=content, headers={"Content-Type": "application/json"})
        assert 400 <= answer.status_code < 500, answer.text
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("http://127.0.0.1:1/a.jpg", "url-not-allowed"),
        ("http://169.254.169.254/latest/meta-data", "url-not-allowed"),
        ("STUDIO/api/users/", "url-not-allowed"),
        ("/api/users/", "url-not-allowed"),
        ("file:///etc/passwd", "url-not-allowed"),
        (7, "invalid-parameters"),
        ("data:image/png;base64,eA==", "unreadable-image"),
    ],
)
def test_a_hostile_address_of_an_image_is_refused_and_named(patient: World, address: Any, code: str) -> None:
    asked = len(patient.studio.server.asked) if patient.studio.server else 0
    given = address.replace("STUDIO", patient.studio.url) if isinstance(address, str) else address
    answer = patient.predict(1, given)
    assert answer.status_code == (403 if code == "url-not-allowed" else 422)
    assert answer.json()["code"] == code
    if code != "unreadable-image":
        assert answer.json()["errors"][0]["field"] == "/tasks/0/data/image"
    assert patient.studio.server is not None
    assert len(patient.studio.server.asked) == asked
    assert TOKEN not in answer.text


@pytest.mark.parametrize(
    "value",
    [None, 7, {}, {"x": 1, "y": 1}, {**ALL, "width": 0}, {**ALL, "x": 101}, {**ALL, "x": "nan"}, {**ALL, "y": 1e300}],
)
def test_what_is_no_rectangle_inside_of_the_image_is_refused(patient: World, value: Any) -> None:
    answer = patient.predict(1, "/data/upload/1/star.jpg", context={"result": [{"value": value}]})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-parameters")


def test_a_model_that_is_not_there_is_refused_with_the_choices(patient: World) -> None:
    answer = patient.predict(1, "/data/upload/1/star.jpg", model="/nobody")
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    assert "shapes-detector" in answer.json()["detail"]


@pytest.mark.slow
def test_an_unfinished_task_is_answered_later_and_its_prediction_comes_by_itself(hurried: World) -> None:
    answer = hurried.predict(10, "/data/upload/1/star.jpg")
    assert answer.status_code == 503
    assert answer.json()["code"] == "busy"
    assert "Retry-After" in answer.headers
    (pushed,) = hurried.studio.predictions_of(10)
    assert pushed["model_version"].startswith("shapes-")
    assert regions(pushed, "choices")[0]["value"] == {"choices": ["Ring"]}
    assert share_on(mask_of(regions(pushed, "brushlabels")[1]), STAR) > 0.9
    again = hurried.predict(10, "/data/upload/1/star.jpg")
    assert again.json()["results"] == [{name: value for name, value in pushed.items() if name != "task"}]
    assert len(hurried.studio.predictions_of(10)) == 1


def test_tasks_that_came_together_are_all_pushed_the_finished_ones_too(hurried: World) -> None:
    hurried.predict(10, "/data/upload/1/star.jpg")
    hurried.studio.predictions_of(10)
    names = {21: "star", 22: "ring", 23: "clever-hans"}
    tasks = [{"id": task, "data": {"image": f"/data/upload/1/{name}.jpg"}} for task, name in names.items()]
    answer = hurried.http.post(f"{HERE}/predict", json={"tasks": tasks, "label_config": PLAIN})
    assert answer.status_code == 503
    for task in names:
        assert len(hurried.studio.predictions_of(task)) == 1
    assert (
        len(hurried.http.post(f"{HERE}/predict", json={"tasks": tasks, "label_config": PLAIN}).json()["results"]) == 3
    )


def test_all_tasks_of_a_project_at_once_get_their_predictions(hurried: World) -> None:
    tasks = [{"id": task, "data": {"image": "/data/upload/1/several.jpg"}} for task in range(1000, 1060)]
    assert hurried.http.post(f"{HERE}/predict", json={"tasks": tasks, "label_config": PLAIN}).status_code == 503
    hurried.studio.wait_for(lambda: {task["id"] for task in tasks} <= {one["task"] for one in hurried.studio.stored})
    assert all(len(hurried.studio.predictions_of(task)) == 1 for task in range(1000, 1060))


def test_one_bad_image_among_others_stops_none_of_them(hurried: World) -> None:
    pictures = {31: "/data/upload/1/several.jpg", 32: "/api/users/"}
    tasks = [{"id": task, "data": {"image": picture}} for task, picture in pictures.items()]
    assert hurried.http.post(f"{HERE}/predict", json={"tasks": tasks, "label_config": PLAIN}).status_code == 503
    hurried.studio.predictions_of(31)


@pytest.mark.slow
def test_a_label_studio_that_is_down_for_a_while_gets_the_prediction_later(hurried: World) -> None:
    assert hurried.studio.server is not None
    hurried.studio.up.clear()
    before = len(hurried.studio.server.asked)
    hurried.predict(40, "/data/upload/1/ring.jpg", WITH_OVERLAY)
    hurried.studio.server.wait_until_asked(before + 3)
    hurried.studio.up.set()
    hurried.studio.predictions_of(40)


def test_the_overlay_is_put_into_the_field_of_the_second_image_and_nothing_else_is_changed(hurried: World) -> None:
    for _ in range(2):  # the second time it is finished, and Label Studio has the prediction already
        hurried.predict(41, "/data/upload/1/star.jpg", WITH_OVERLAY)
        hurried.studio.wait_for(lambda: "overlay" in hurried.studio.data.get(41, {}))
        data = hurried.studio.data.pop(41)
        assert data.pop("overlay").startswith("data:image/jpeg;base64,/9j/")
        assert data == {"image": "kept", "more": [1]}
    assert len(hurried.studio.predictions_of(41)) == 1


def test_what_a_front_end_put_off_before_it_died_is_sent_by_the_next(hurried: World) -> None:
    hurried.studio.up.clear()
    assert hurried.predict(50, "/data/upload/1/clever-hans.jpg", model="/clever-hans").status_code == 503
    (front_end,) = [pid for pid, command in hurried.service.children().items() if "uvicorn" in command]
    os.kill(front_end, signal.SIGKILL)
    hurried.studio.up.set()
    assert hurried.studio.predictions_of(50)[0]["model_version"].startswith("clever-hans-")


def test_when_every_task_has_its_prediction_or_is_gone_nothing_is_put_off_any_more(hurried: World) -> None:
    hurried.studio.gone.add(60)
    for task in (60, 61):
        assert hurried.predict(task, "/data/upload/1/star.jpg", WITH_OVERLAY, "/clever-hans").status_code in {200, 503}
    hurried.studio.wait_for(lambda: "overlay" in hurried.studio.data.get(61, {}))
    with Redis.from_url((hurried.service.data / "redis.url").read_text()) as redis:
        deadline = time.monotonic() + 60
        while len(DelayedTasks(redis, "label-studio")):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert not [one for one in hurried.studio.stored if one["task"] == 60]


def test_a_classifier_answers_a_rectangle_with_the_part_of_its_map_inside(hurried: World) -> None:
    hurried.predict(10, "/data/upload/1/star.jpg")
    hurried.studio.predictions_of(10)
    right = {"x": 75, "y": 0, "width": 25, "height": 100, "rotation": 0}
    for rectangle, left in ((ALL, 0), (right, 360)):
        (answer,) = hurried.draw("/data/upload/1/star.jpg", "Star", rectangle).json()["results"]
        mask = mask_of(regions(answer, "brushlabels")[1])
        assert mask.any()
        assert not mask[:, :left].any()
    assert share_on(mask, STAR) > 0.5


def test_without_a_key_of_a_tenant_that_the_operator_named_nothing_is_answered(hurried: World) -> None:
    stranger = new_key(hurried.service, "stranger", "--tenant", "strangers")
    reader = new_key(hurried.service, "reader", "--tenant", "annotators", "--scope", "read")
    body = {"tasks": [{"id": 1, "data": {"image": "/data/upload/1/star.jpg"}}], "label_config": PLAIN, "schema": PLAIN}
    statuses = {None: 401, ("a", "wrong"): 401, ("a", stranger): 403, ("a", reader): 403}
    for login, status in statuses.items():
        with httpx2.Client(base_url=hurried.service.url, auth=login) as http:
            for verb, path in routes():
                assert http.request(verb, path.replace("{model}", "shapes"), json=body).status_code == status, path


def routes() -> list[tuple[str, str]]:
    """Return verb and path of every route of the integration, but for the one that takes note of nothing."""
    found = list(iter_route_contexts(create_app(Settings(label_studio_url="http://x")).routes))
    mine = [(verb, str(route.path)) for route in found for verb in route.methods or () if HERE in str(route.path)]
    assert len(mine) == 11
    return [(verb, path) for verb, path in mine if not path.endswith("/webhook") and verb != "HEAD"]


def test_what_label_studio_tells_of_itself_is_taken_without_a_key(hurried: World) -> None:
    with httpx2.Client(base_url=hurried.service.url) as http:
        told = {"action": "ANNOTATION_CREATED", "task": {"id": 1}}
        assert http.post(f"{HERE}/shapes/webhook", json=told).status_code == 204


def test_label_studio_alone_has_seen_the_token_and_workers_have_not(hurried: World) -> None:
    assert hurried.studio.server is not None
    assert all(asked.headers["authorization"] == f"Token {TOKEN}" for asked in hurried.studio.server.asked)
    log = hurried.service.data.parent / f"{hurried.service.data.name}.log"
    assert TOKEN not in log.read_text()
    for pid in hurried.service.worker_ids():
        with open(f"/proc/{pid}/environ", "rb") as environment:
            assert TOKEN.encode() not in environment.read()


def test_an_address_of_label_studio_that_is_none_stops_the_front_end() -> None:
    for wrong in ("studio", "ftp://studio", "https://user:word@studio", "https://studio?x=1"):
        with pytest.raises(ValueError, match="label_studio_url"):
            Settings(label_studio_url=wrong)
