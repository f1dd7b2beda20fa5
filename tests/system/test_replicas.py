"""Two front ends and two workers around one server: whatever is done at one is known at the other."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.app.batches.test_zip_reader import packed
from tests.conftest import SAMPLES
from tests.support.hostile_images import encoded, picture
from tests.support.replicas import replicas
from tests.support.sse import opened

ENDLESS = {"masks": "1000000"}


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    with replicas(tmp_path_factory.mktemp("replicas"), front_ends=2, workers=2) as running:
        yield running


@pytest.fixture(params=[False, True], ids=["first", "second"])
def pair(request: pytest.FixtureRequest, addresses: list[str]) -> Iterator[tuple[httpx2.Client, httpx2.Client]]:
    """The front end where something is made, and the other one; each of them is each once."""
    one, other = reversed(addresses) if request.param else addresses
    with httpx2.Client(base_url=one, timeout=100) as here, httpx2.Client(base_url=other, timeout=100) as there:
        yield here, there


Pair = tuple[httpx2.Client, httpx2.Client]


def explain(http: httpx2.Client, *, key: str | None = None, **fields: str) -> httpx2.Response:
    data = {"model": "shapes", "masks": "128", "until": "1", "seed": str(http.base_url.port), **fields}
    headers = {"Idempotency-Key": key} if key else {}
    image = (SAMPLES / "star.jpg").read_bytes()
    answer = http.post("/v1/explanations", files={"image": image}, data=data, headers=headers)
    assert answer.is_success, answer.text
    return answer


def the_same(pair: Pair, path: str) -> httpx2.Response:
    """Return what both front ends answer, byte for byte; the first is asked twice, because the expiry may move."""
    here, there = pair
    first, other, last = (http.get(path) for http in (here, there, here))
    assert first.is_success, first.text
    seen = [(answer.content, answer.headers.get("etag")) for answer in (first, last)]
    assert (other.content, other.headers.get("etag")) in seen
    return first


def test_what_is_made_at_one_is_there_at_the_other_at_once(pair: Pair) -> None:
    here, there = pair
    for grid in range(2, 8):
        path = explain(here, grid=str(grid), masks="64").headers["location"]
        assert there.get(path).status_code == 200
        assert path in {each["links"]["self"] for each in there.get("/v1/explanations").json()}


def test_what_is_made_at_one_is_waited_for_and_fetched_at_the_other(pair: Pair) -> None:
    here, there = pair
    path = explain(here).headers["location"]
    body = there.get(path, params={"wait": 60}).json()
    assert body["status"] == "succeeded"
    assert the_same(pair, path).json() == body
    for link in body["targets"][0]["links"].values():
        the_same(pair, link)
    for more in ("image", "callbacks", "maps/label/ring.npy"):
        the_same(pair, f"{path}/{more}")
    for known in ("/v1/models", "/v1/methods", "/v1/fills"):
        the_same(pair, known)
    asked = {"metrics": ["deletion"]}
    measured = [http.post(f"{path}/metrics", json=asked).json()["deletion"]["value"] for http in pair]
    assert measured[0] == pytest.approx(measured[1], abs=1e-5)  # because workers choose their own batch sizes


def test_what_is_made_at_one_is_followed_at_the_other_to_its_end(pair: Pair) -> None:
    here, there = pair
    path = explain(here, masks="2000", grid="7").headers["location"]
    with opened(there, f"{path}/events") as events:
        names = [event.event for event in events]
    assert names[0] == "queued"
    assert names[-1] == "succeeded"


def test_what_is_made_and_followed_at_one_is_cancelled_at_the_other(pair: Pair) -> None:
    here, there = pair
    path = explain(here, **ENDLESS).headers["location"]
    with opened(here, f"{path}/events") as events:
        assert any(event.event == "running" for event in events)
        assert there.post(f"{path}/cancel").status_code == 202
        assert [event.event for event in events][-1] == "cancelled"
    assert here.get(path).json()["status"] == "cancelled"
    assert there.delete(path).status_code == 204
    assert [http.get(path).status_code for http in pair] == [404, 404]


def test_two_workers_run_two_explanations_side_by_side(pair: Pair) -> None:
    asked = [explain(http, **ENDLESS, grid="9", seed=str(http.base_url.port)) for http in pair]
    paths = [answer.headers["location"] for answer in asked]
    for http, path in zip(reversed(pair), paths, strict=True):
        with opened(http, f"{path}/events") as events:
            assert any(event.event == "progress" for event in events)
    assert [http.get(path).json()["status"] for http, path in zip(pair, paths, strict=True)] == ["running", "running"]
    assert [http.delete(path).status_code for http, path in zip(reversed(pair), paths, strict=True)] == [204, 204]


def test_an_idempotency_key_means_the_same_at_both_also_at_the_same_moment(pair: Pair) -> None:
    here, there = pair
    key = f"key of {here.base_url}"
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda http: explain(http, key=key, seed="1", grid="6"), [here, there] * 4))
    assert len({answer.json()["id"] for answer in answers}) == 1
    image = {"image": encoded(picture(), "PNG")}
    refused = there.post("/v1/explanations", files=image, data={"model": "shapes"}, headers={"Idempotency-Key": key})
    assert refused.json()["code"] == "idempotency-key-reused"


def test_an_image_that_one_took_is_explained_at_and_removed_from_the_other(pair: Pair) -> None:
    here, there = pair
    uploaded = here.post("/v1/images", files={"image": encoded(picture(), "PNG")}).json()["images"][0]
    named = {"image": {"id": uploaded["id"]}}
    assert there.post("/v1/explanations", json={**named, "model": "shapes", "masks": 64}).is_success
    assert there.post("/v1/models/shapes/predict", json=named).json()[0]["score"] > 0
    assert the_same(pair, uploaded["links"]["self"]).json()["id"] == uploaded["id"]
    assert there.delete(uploaded["links"]["self"]).status_code == 204
    assert here.get(uploaded["links"]["self"]).status_code == 404


def test_a_batch_that_one_took_is_read_fetched_and_deleted_at_the_other(pair: Pair) -> None:
    here, there = pair
    batch = send(here, seed=str(here.base_url.port))
    path = batch["links"]["self"]
    for _ in range(3000):
        if there.get(path).json()["status"] == "finished":
            break
    members = the_same(pair, f"{path}/explanations").json()
    assert [member["status"] for member in members] == ["succeeded"] * 3
    assert there.get(f"{path}/archive").content[:2] == b"PK"
    assert there.delete(path).status_code == 204
    assert here.get(path).status_code == 404


def test_a_batch_that_one_took_is_cancelled_at_the_other(pair: Pair) -> None:
    here, there = pair
    path = send(here, **ENDLESS, grid="5", seed=str(here.base_url.port))["links"]["self"]
    assert there.post(f"{path}/cancel").status_code == 202
    assert here.get(path).json()["status"] in {"cancelled", "cancelling", "finished"}


def send(http: httpx2.Client, **fields: str) -> Any:
    archive = packed(*((f"{side}.png", encoded(picture(side, 40), "PNG")) for side in (40, 41, 42))).getvalue()
    data = {"model": "shapes", "masks": "64", "until": "1", **fields}
    answer = http.post("/v1/batches", files={"archive": ("a.zip", archive)}, data=data)
    assert answer.status_code == 202, answer.text
    return answer.json()
