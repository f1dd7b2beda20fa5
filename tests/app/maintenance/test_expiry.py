"""How explanations end: deleted, or expired, with everything that belongs to them."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx2
import pytest
from redis import Redis

from app.api.dependencies import existing_record
from app.auth.principal import ANONYMOUS, Principal
from app.contract.errors import RiseError
from app.contract.queue.jobs import JobQueue
from app.contract.redis.keys import record_key
from app.contract.redis.leases import Leases
from app.contract.storage.object_store import BlobStore, effects_blob, explanation_prefix, image_blob
from app.explanations.expiry_index import ExpiryIndex
from app.explanations.listing import Listing
from app.explanations.removal import ExplanationRemover
from app.maintenance.garbage_collector import GarbageCollector
from app.services import Services
from tests.app.explanations.test_events import endless
from tests.conftest import Service, start_service, stop_service
from tests.contract.test_store import PROGRESS, STATE, a_record, a_store, publish
from tests.support.api_requests import explain
from tests.support.sse import opened

KEEP = 600.0


class House:
    """Store, blobs and collector on a real server and a folder of their own."""

    def __init__(self, redis: Redis, folder: Path) -> None:
        self.redis, self.store, self.expiry = redis, a_store(redis), ExpiryIndex(redis)
        self.blobs = BlobStore(folder.as_uri())
        self.collector = GarbageCollector(self.expiry, self.blobs, keep_seconds=KEEP)
        self.folder = folder

    def finish(self, explanation_id: str = "one") -> None:
        self.blobs.put(image_blob(explanation_id), b"image")
        self.blobs.put(effects_blob(explanation_id, "a", 0, 1), b"effects")
        self.store.create(a_record(explanation_id))
        self.store.start(explanation_id, "a")

    def expire(self, explanation_id: str = "one") -> None:
        """Do what the server does when the time is up."""
        self.redis.delete(record_key(explanation_id))

    def listed(self) -> list[str]:
        page = Listing(self.redis, self.store).page("public", limit=100, status=None, model=None)
        return [record.id for record in page.records]

    def keys(self) -> set[str]:
        found: Any = self.redis.keys("rise:*")
        return {key.decode() for key in found}


@pytest.fixture
def house(redis: Redis, tmp_path: Path) -> House:
    return House(redis, tmp_path / "blobs")


def later(seconds: float) -> float:
    return time.time() + seconds


def test_what_lives_is_not_swept(house: House) -> None:
    house.finish()
    house.collector.sweep_due(now=later(10 * KEEP))
    house.collector.sweep_orphans(now=later(10 * KEEP))
    assert len(house.blobs.names(explanation_prefix("one"))) == 2
    assert house.listed() == ["one"]


def test_what_has_expired_is_swept_and_remembered(house: House) -> None:
    house.finish("one")
    house.finish("two")
    house.expire("one")
    house.collector.sweep_due(now=later(KEEP - 10))
    assert house.blobs.names(explanation_prefix("one"))
    house.collector.sweep_due(now=later(KEEP + 10))
    assert house.blobs.names(explanation_prefix("one")) == []
    assert not (house.folder / explanation_prefix("one")).exists()
    assert len(house.blobs.names(explanation_prefix("two"))) == 2
    assert house.redis.zrange("rise:index:public", 0, -1) == [b"two"]
    assert house.expiry.tenant_of_expired("one") == "public"
    assert house.expiry.due(now=later(10 * KEEP), limit=10) == ["two"]


def test_what_is_deleted_leaves_nothing_behind(house: House) -> None:
    house.finish()
    house.expiry.delete("one")
    assert house.store.read("one") is None
    assert house.expiry.tenant_of_expired("one") is None
    assert house.listed() == []
    house.collector.sweep_due(now=later(120))
    assert house.blobs.names("explanations") == []
    assert house.keys() == set()


def test_what_is_asked_for_again_while_it_is_being_deleted_keeps_its_image(house: House) -> None:
    def ask_again() -> None:
        if house.store.create(a_record("one")):
            house.blobs.put(image_blob("one"), b"again")

    def discard(folder: str) -> None:
        ask_again()
        house.blobs.discard(folder)
        ask_again()

    def delete(name: str) -> None:
        ask_again()
        house.expiry.delete(name)
        ask_again()

    house.finish()
    blobs, expiry = SimpleNamespace(discard=discard), SimpleNamespace(delete=delete)
    jobs = JobQueue(house.redis, timeout_seconds=60)
    ExplanationRemover(house.store, cast(BlobStore, blobs), jobs, cast(ExpiryIndex, expiry)).delete("one")
    assert house.store.read("one") is not None
    assert house.blobs.get(image_blob("one")) == b"again"


def test_a_worker_that_writes_late_does_not_bring_a_deleted_explanation_back(house: House) -> None:
    house.finish()
    house.expiry.delete("one")
    house.blobs.delete_all(explanation_prefix("one"))
    house.blobs.put(effects_blob("one", "a", 9, 1), b"late")
    assert not house.store.advance("one", "a", progress=PROGRESS, state=STATE)
    assert not publish(house.store, "a")
    assert house.keys() == {"rise:due"}
    house.collector.sweep_due(now=later(120))
    assert house.blobs.names("explanations") == []


def test_an_explanation_that_is_asked_for_again_keeps_what_was_uploaded_for_it(house: House) -> None:
    house.finish()
    house.expire()
    house.finish()
    house.collector.sweep_due(now=later(KEEP + 10))
    assert len(house.blobs.names(explanation_prefix("one"))) == 2
    house.expire()
    house.blobs.put(image_blob("one"), b"again")  # uploaded, but not stored yet
    house.expiry.reschedule("one", time.time() - 1)
    house.collector.sweep_due(now=time.time())
    assert image_blob("one") in house.blobs.names(explanation_prefix("one"))


def test_a_blob_that_no_record_refers_to_is_swept_when_it_is_old(house: House) -> None:
    house.finish("one")
    for name in ("explanations/lost/image", "predictions/lost/image"):
        house.blobs.put(name, b"lost")
    house.collector.sweep_orphans(now=later(KEEP - 10))
    assert len(house.blobs.names("explanations")) == 3
    assert house.blobs.names("predictions") == ["predictions/lost/image"]
    house.collector.sweep_orphans(now=later(KEEP + 10))
    assert {name.split("/")[1] for name in house.blobs.names("explanations")} == {"one"}
    assert house.blobs.names("predictions") == []


def test_what_expired_is_known_to_its_tenant_alone(house: House) -> None:
    house.finish()
    services = cast(Services, SimpleNamespace(store=house.store, expiry=house.expiry))
    assert existing_record(services, ANONYMOUS, "one").id == "one"
    house.expire()
    for caller, code in ((ANONYMOUS, "expired"), (Principal("others", frozenset()), "not-found")):
        with pytest.raises(RiseError) as refused:
            existing_record(services, caller, "one")
        assert refused.value.code == code
    house.expiry.delete("one")
    with pytest.raises(RiseError, match="there is no explanation"):
        existing_record(services, ANONYMOUS, "one")


def test_a_lease_is_one_process_s_until_it_ends(redis: Redis) -> None:
    replicas = [Leases(redis) for _ in range(3)]
    assert sum(replica.try_acquire("due", seconds=60) for replica in replicas) == 1
    assert replicas[0].try_acquire("orphans", seconds=60)


def test_deleting_what_somebody_else_deletes_too_is_no_error(house: House) -> None:
    house.finish()
    names = house.blobs.names(explanation_prefix("one"))
    house.blobs.delete(names[:1])
    house.blobs.delete(names)
    assert house.blobs.names(explanation_prefix("one")) == []


@pytest.fixture
def forgetful(tmp_path: Path) -> Iterator[Service]:
    """A service that keeps explanations for a few seconds."""
    running = start_service(tmp_path / "data", RISE_KEEP_SECONDS="6", RISE_SWEEP_SECONDS="0.3")
    yield running
    stop_service(running)


def until(true: Callable[[], bool]) -> None:
    for _ in range(300):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError("it does not happen")


@pytest.mark.slow
def test_an_expired_explanation_is_gone_with_its_blobs_and_can_be_asked_for_again(
    forgetful: Service, star: bytes
) -> None:
    with httpx2.Client(base_url=forgetful.url, timeout=60) as http:
        here = explain(http, star, masks=128, until=1).json()["links"]["self"]
        until(lambda: http.get(here).status_code == 410)
        assert http.get(here).json()["code"] == "expired"
        for address in (f"{here}/maps/0.png", f"{here}/image", f"{here}/events"):
            assert http.get(address).status_code == 410
        assert http.post(f"{here}/cancel").status_code == 410
        assert http.get("/v1/explanations").json() == []
        blobs = forgetful.data / "blobs" / "explanations"
        until(lambda: not any(folders or files for _, folders, files in os.walk(blobs)))
        assert explain(http, star, masks=128, until=1).json()["links"]["self"] == here


def test_a_running_explanation_can_be_deleted_and_never_comes_back(
    service: Service, http: httpx2.Client, star: bytes
) -> None:
    here = endless(http, star, 701)
    with opened(http, f"{here}/events") as events:
        assert any(event.event == "preview" for event in events)
        answer = http.delete(here)
        assert answer.status_code == 204
        assert answer.content == b""
        assert list(events)[-1].event == "cancelled"
    assert explain(http, star, masks=256, until=1, seed=702).json()["status"] == "succeeded"  # the worker is free
    assert http.get(here).status_code == 404
    assert http.get(f"{here}/image").status_code == 404
    assert http.delete(here).status_code == 404
    assert here not in {item["links"]["self"] for item in http.get("/v1/explanations?limit=100").json()}
    assert not (service.data / "blobs" / "explanations" / here.rsplit("/", 1)[1] / "image").exists()


def test_a_queued_explanation_that_is_deleted_never_runs(http: httpx2.Client, star: bytes) -> None:
    first, second = endless(http, star, 703), endless(http, star, 704)
    assert http.delete(second).status_code == 204
    assert http.delete(first).status_code == 204
    assert explain(http, star, masks=256, until=1, seed=705).json()["status"] == "succeeded"
    assert http.get(second).status_code == 404


def test_a_reader_who_waits_for_what_is_deleted_is_told(http: httpx2.Client, star: bytes) -> None:
    here = endless(http, star, 706)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(http.get, here, params={"wait": 30})
        http.delete(here)  # before, or while it waits: the answer is the same
        assert waiting.result().status_code == 404


def test_what_was_deleted_while_it_ran_runs_again_when_it_is_asked_for_at_once(
    http: httpx2.Client, star: bytes
) -> None:
    for _ in range(3):
        here = endless(http, star, 702)
        with opened(http, f"{here}/events") as events:
            assert any(event.event == "progress" for event in events)
        assert http.delete(here).status_code == 204
