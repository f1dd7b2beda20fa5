"""What leaves the service, and what it fetches: real receivers on loopback, the whole service, a real worker."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.conftest import SAMPLES, Service, start_service, stop_service
from tests.support.http_receivers import Answer, Asked, Receiver, receiver

SECRET = "0123456789abcdef0123456789abcdef"


@dataclass(frozen=True)
class World:
    """A service that trusts one receiver, and what the receiver says to each path (200 to every other)."""

    http: httpx2.Client
    receiver: Receiver
    service: Service
    answers: dict[str, Answer] = field(default_factory=dict)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    answers = {f"/{name}": Answer(parts=((SAMPLES / name).read_bytes(),)) for name in ("star.jpg", "ring.jpg")}

    def answer(asked: Asked) -> Answer:
        return answers.get(asked.path, Answer())

    with receiver(answer) as server:
        service = start_service(
            tmp_path_factory.mktemp("outgoing") / "data",
            RISE_TRUSTED_HOSTS=server.host,
            RISE_ALLOWED_HOSTS="*.example.com",
            RISE_FETCH_SECONDS="2",
            RISE_WEBHOOK_SECRET=SECRET,
            RISE_CALLBACK_PAUSE_SECONDS="0.1",
        )
        with httpx2.Client(base_url=service.url, timeout=120) as client:
            yield World(client, server, service, answers)
        stop_service(service)


def test_an_image_by_url_is_explained_like_the_same_image_uploaded(world: World, star: bytes) -> None:
    by_url = {"model": "shapes", "image": {"url": f"{world.receiver.url}/star.jpg"}}
    answer = world.http.post("/v1/explanations", json=by_url, headers={"Prefer": "wait=60"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "succeeded"
    uploaded = world.http.post("/v1/explanations", files={"image": star}, data={"model": "shapes"})
    assert uploaded.json()["id"] == answer.json()["id"]
    form = {"model": "shapes", "image_url": f"{world.receiver.url}/star.jpg"}
    assert world.http.post("/v1/explanations", files={}, data=form).status_code == 415
    multipart = world.http.post("/v1/explanations", files=[(name, (None, text)) for name, text in form.items()])
    assert multipart.json()["id"] == answer.json()["id"]


def test_what_a_model_sees_can_be_asked_about_an_image_by_url(world: World) -> None:
    body = {"image": {"url": f"{world.receiver.url}/ring.jpg"}}
    assert world.http.post("/v1/models/shapes/predict", json=body).json()[0]["name"] == "ring"


def test_for_a_model_that_does_not_exist_no_image_is_fetched(world: World) -> None:
    image, asked_before = {"url": f"{world.receiver.url}/ring.jpg"}, len(world.receiver.asked)
    predicted = world.http.post("/v1/models/shapez/predict", json={"image": image})
    explained = world.http.post("/v1/explanations", json={"model": "shapez", "image": image})
    assert (predicted.json()["code"], explained.json()["code"]) == ("not-found", "unknown-name")
    assert len(world.receiver.asked) == asked_before


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("https://127.0.0.1/star.jpg", "url-not-allowed"),
        ("https://a.example.org/star.jpg", "url-not-allowed"),
        ("http://a.example.com/star.jpg", "url-not-allowed"),
        ("file:///etc/passwd", "url-not-allowed"),
        ("RECEIVER/missing.jpg", "image-not-fetched"),
        ("RECEIVER/moved.jpg", "image-not-fetched"),
        ("RECEIVER/nothing", "unreadable-image"),
    ],
)
def test_an_image_that_may_not_or_cannot_be_fetched_is_a_problem_that_names_the_field(
    world: World, url: str, code: str
) -> None:
    world.answers["/missing.jpg"] = Answer(404)
    world.answers["/moved.jpg"] = Answer(302, headers={"Location": "/star.jpg"})
    body = {"model": "shapes", "image": {"url": url.replace("RECEIVER", world.receiver.url)}}
    answer = world.http.post("/v1/explanations", json=body)
    assert answer.status_code == (403 if code == "url-not-allowed" else 422)
    assert answer.json()["code"] == code
    if code != "unreadable-image":
        assert answer.json()["errors"][0]["field"] == "/image/url"


def test_a_host_that_sends_an_image_too_slowly_holds_up_nobody_else(world: World, star: bytes) -> None:
    release = threading.Event()
    world.answers["/slow.jpg"] = Answer(wait_for=release)
    found: list[httpx2.Response] = []
    body = {"model": "shapes", "image": {"url": f"{world.receiver.url}/slow.jpg"}}
    slow = threading.Thread(target=lambda: found.append(world.http.post("/v1/explanations", json=body)))
    asked_before = len(world.receiver.asked)
    slow.start()
    world.receiver.wait_until_asked(asked_before + 1)
    assert world.http.post("/v1/models/shapes/predict", files={"image": star}).json()[0]["name"] == "star"
    slow.join()
    release.set()
    assert found[0].json()["code"] == "image-not-fetched"


def test_the_description_of_the_service_says_that_an_image_may_be_an_address(world: World) -> None:
    schemas = world.http.get("/openapi.json").json()["components"]["schemas"]
    assert list(schemas["ImageByUrl"]["properties"]) == ["url"]
    assert "image_url" in schemas["PredictionForm"]["properties"]


def explain(world: World, star: bytes, **fields: object) -> Any:
    data = {"model": "shapes", "masks": "128", "until": "1", **{name: str(value) for name, value in fields.items()}}
    answer = world.http.post("/v1/explanations", files={"image": star}, data=data)
    assert answer.status_code in {200, 202}, answer.text
    return answer.json()


def told(world: World, path: str, times: int = 1) -> list[Asked]:
    """Return what came to a path, when it has come so many times."""

    def came() -> list[Asked]:
        return [asked for asked in world.receiver.asked if asked.path == path]

    with world.receiver.arrived:
        assert world.receiver.arrived.wait_for(lambda: len(came()) >= times, 60), f"{path} was told {len(came())} times"
        return came()


def test_a_receiver_is_told_that_an_explanation_has_succeeded(world: World, star: bytes) -> None:
    body = explain(world, star, seed=1, callback=f"{world.receiver.url}/ended")
    (asked,) = told(world, "/ended")
    message = json.loads(asked.body)
    assert message["type"] == "explanation.succeeded"
    assert message["data"]["id"] == body["id"]
    assert message["data"]["links"]["self"] == body["links"]["self"]
    assert asked.headers["webhook-signature"].startswith("v1,")
    assert world.http.get(message["data"]["links"]["self"]).json()["status"] == "succeeded"


def test_a_receiver_is_told_that_an_explanation_was_cancelled_or_has_failed(world: World, star: bytes) -> None:
    body = explain(world, star, seed=2, masks=1_000_000, callback=f"{world.receiver.url}/cancelled")
    world.http.post(body["links"]["cancel"])
    assert json.loads(told(world, "/cancelled")[0].body)["type"] == "explanation.cancelled"
    explain(world, star, model="faces", callback=f"{world.receiver.url}/failed")
    message = json.loads(told(world, "/failed")[0].body)
    assert (message["type"], message["data"]["error"]["code"]) == ("explanation.failed", "no-target")


def test_a_receiver_is_told_that_an_audit_has_ended_asked_for_with_its_explanation_or_later(
    world: World, star: bytes
) -> None:
    body = explain(world, star, seed=9, audit="true", callback=f"{world.receiver.url}/both")
    both = told(world, "/both", times=2)
    messages = {message["type"]: message["data"] for message in map(json.loads, (asked.body for asked in both))}
    assert messages.keys() == {"explanation.succeeded", "audit.succeeded"}
    assert {data["id"] for data in messages.values()} == {body["id"]}
    assert len({asked.headers["webhook-id"] for asked in both}) == 2
    audit = world.http.get(messages["audit.succeeded"]["links"]["audit"]).json()
    assert (audit["status"], audit["links"]["explanation"]) == ("succeeded", body["links"]["self"])
    later = {"callback": f"{world.receiver.url}/audited"}
    assert world.http.post(f"{body['links']['self']}/audit", json=later).status_code == 200
    (asked,) = told(world, "/audited")
    assert json.loads(asked.body)["data"] == messages["audit.succeeded"]
    assert asked.headers["webhook-signature"].startswith("v1,")


def test_a_receiver_is_told_that_an_audit_was_cancelled_with_its_explanation(world: World, star: bytes) -> None:
    body = explain(world, star, seed=10, masks=1_000_000)
    callback = {"callback": f"{world.receiver.url}/audit-cancelled"}
    assert world.http.post(f"{body['links']['self']}/audit", json=callback).status_code == 202
    world.http.post(body["links"]["cancel"])
    message = json.loads(told(world, "/audit-cancelled")[0].body)
    assert (message["type"], message["data"]["id"]) == ("audit.cancelled", body["id"])


def test_the_same_question_with_another_callback_is_the_same_explanation_and_both_are_told(
    world: World, star: bytes
) -> None:
    first = explain(world, star, seed=3, callback=f"{world.receiver.url}/first")
    told(world, "/first")
    second = explain(world, star, seed=3, callback=f"{world.receiver.url}/second")
    assert second["id"] == first["id"]
    told(world, "/second")
    listed = world.http.get(f"{first['links']['self']}/callbacks").json()
    assert {delivery["url"].rpartition("/")[2] for delivery in listed} == {"first", "second"}


def test_a_receiver_that_is_down_for_a_while_is_told_later(world: World, star: bytes) -> None:
    world.answers["/down"] = Answer(503)
    explain(world, star, seed=4, callback=f"{world.receiver.url}/down")
    attempts = told(world, "/down", times=3)
    world.answers["/down"] = Answer(200)
    attempts = told(world, "/down", times=len(attempts) + 1)
    assert len({asked.headers["webhook-id"] for asked in attempts}) == 1


def test_a_receiver_that_answers_slowly_delays_no_explanation(world: World, star: bytes) -> None:
    release = threading.Event()
    world.answers["/sleepy"] = Answer(wait_for=release)
    for seed in (5, 6):
        explain(world, star, seed=seed, callback=f"{world.receiver.url}/sleepy")
    told(world, "/sleepy", times=2)
    later = explain(world, star, seed=7, callback=f"{world.receiver.url}/awake")
    told(world, "/awake")
    assert world.http.get(later["links"]["self"]).json()["status"] == "succeeded"
    release.set()


@pytest.mark.parametrize("url", ["https://other.test/x", "http://127.0.0.1:1/x", "ftp://example.com", "7", "[]"])
def test_a_callback_that_may_not_be_sent_is_refused_with_the_request(world: World, star: bytes, url: str) -> None:
    fields = {"model": "shapes", "callback": url}
    answer = world.http.post("/v1/explanations", files={"image": star}, data=fields)
    assert answer.status_code == 403
    assert answer.json()["code"] == "url-not-allowed"
    assert answer.json()["errors"][0]["field"] == "/callback"


def test_workers_never_see_the_secret(world: World) -> None:
    with_secret = {
        command
        for pid, command in world.service.children().items()
        if SECRET.encode() in Path(f"/proc/{pid}/environ").read_bytes()
    }
    assert any("app.webhooks" in command for command in with_secret)
    assert not any("-m workers" in command for command in with_secret)


def test_the_command_that_sends_callbacks_says_what_it_lacks() -> None:
    command = [str(Path(sys.executable).with_name("rise-serve")), "webhooks"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 1
    assert "RISE_WEBHOOK_SECRET" in found.stderr
    assert "Traceback" not in found.stderr


def test_callbacks_are_described_as_webhooks(world: World) -> None:
    described = world.http.get("/openapi.json").json()
    message = described["webhooks"]["explanation-ended"]["post"]
    assert {parameter["name"] for parameter in message["parameters"]} == {
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
    }
    forms = [schema for name, schema in described["components"]["schemas"].items() if name.endswith("Form")]
    assert any("callback" in form.get("properties", {}) for form in forms)


def test_a_service_without_a_secret_refuses_callbacks_and_says_why(http: httpx2.Client, star: bytes) -> None:
    fields = {"model": "shapes", "callback": "https://example.com/x"}
    answer = http.post("/v1/explanations", files={"image": star}, data=fields)
    assert answer.json()["code"] == "url-not-allowed"
    assert "RISE_WEBHOOK_SECRET" in answer.json()["detail"]


def test_a_batch_of_addresses_fetches_each_and_tells_the_callback_of_each(world: World) -> None:
    world.answers["/gone.jpg"] = Answer(404)
    urls = [f"{world.receiver.url}/{name}" for name in ("star.jpg", "gone.jpg", "ring.jpg")]
    body = {
        "model": "shapes",
        "seed": 8,
        "images": [{"url": url} for url in [*urls, "https://127.0.0.1/inside.jpg"]],
        "callback": f"{world.receiver.url}/each",
    }
    batch = world.http.post("/v1/batches", json=body).json()
    messages = [json.loads(asked.body) for asked in told(world, "/each", times=2)]
    members = world.http.get(batch["links"]["explanations"]).json()
    assert [member["status"] for member in members] == ["succeeded", "refused", "succeeded", "refused"]
    assert [members[place]["error"]["code"] for place in (1, 3)] == ["image-not-fetched", "url-not-allowed"]
    assert {message["data"]["id"] for message in messages} == {members[place]["explanation"]["id"] for place in (0, 2)}
