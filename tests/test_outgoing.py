"""What leaves the service, and what it fetches: real receivers on loopback, the whole service, a real worker."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx2
import pytest

from tests.conftest import SAMPLES, start_service, stop_service
from tests.receivers import Answer, Asked, Receiver, receiver


@dataclass(frozen=True)
class World:
    """A service that trusts one receiver, and what the receiver says to each path (200 to every other)."""

    http: httpx2.Client
    receiver: Receiver
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
        )
        with httpx2.Client(base_url=service.url, timeout=120) as client:
            yield World(client, server, answers)
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
    assert answer.status_code == 422
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
    content = world.http.get("/openapi.json").json()["paths"]["/v1/explanations"]["post"]["requestBody"]["content"]
    options = content["application/json"]["schema"]["properties"]["image"]["oneOf"]
    assert "url" in [next(iter(option["properties"])) for option in options]
    assert "image_url" in content["multipart/form-data"]["schema"]["properties"]
