"""Batches: the whole service with a real worker, and what is kept of them on a real Valkey."""

import asyncio
import io
import json
import os
import signal
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import httpx2
import numpy as np
import pytest
from redis import Redis

from app.batches.store import BatchItem, BatchRecord, BatchStore
from app.batches.submitter import WINDOW, BatchContext, BatchSubmitter
from app.contract.explanations.store import ExplanationStore
from app.contract.redis.keys import batch_key
from app.contract.schemas import CanonicalRequest, Failure, ModelRef, Status
from app.contract.settings import Settings
from tests.app.batches.test_zip_reader import packed
from tests.conftest import SAMPLES, Service, start_service, stop_service
from tests.contract.test_store import a_record
from tests.support.hostile_images import encoded, picture

QUICK = {"model": "shapes", "masks": "128", "until": "1"}
ENDLESS = {"model": "shapes", "masks": "100000", "until": "1"}  # minutes; a window of them fits into the queue


def pictures(count: int) -> list[tuple[str, bytes]]:
    """Return so many small images that differ."""
    return [(f"{number}.png", encoded(picture(40 + number, 40), "PNG")) for number in range(count)]


def send(http: httpx2.Client, archive: io.BytesIO, **fields: str) -> Any:
    answer = http.post("/v1/batches", files={"archive": ("images.zip", archive.getvalue())}, data=QUICK | fields)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == answer.json()["links"]["self"]
    return answer.json()


def wait_for(http: httpx2.Client, batch: Any, **counts: int) -> Any:
    """Return a batch when at least so many of its images stand so."""
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        found = http.get(batch["links"]["self"]).json()
        if all(found["counts"].get(status, 0) >= count for status, count in counts.items()):
            return found
        time.sleep(0.05)
    raise AssertionError(found)


def test_an_archive_of_images_becomes_one_resource_and_a_bad_image_stops_no_other(http: httpx2.Client) -> None:
    files = [(f"{name}.jpg", (SAMPLES / f"{name}.jpg").read_bytes()) for name in ("star", "ring")]
    nested = packed(*files).getvalue()
    archive = packed(files[0], ("notes.txt", b"no image"), ("../up.jpg", files[0][1]), ("inner.zip", nested), files[1])
    batch = send(http, archive)
    assert batch["total"] == 5
    ended = wait_for(http, batch, succeeded=2, refused=3)
    assert ended["status"] == "finished"
    assert ended["progress"] == 1
    members = http.get(batch["links"]["explanations"]).json()
    assert [(member["name"], member["status"]) for member in members] == [
        ("star.jpg", "succeeded"),
        ("notes.txt", "refused"),
        ("../up.jpg", "refused"),
        ("inner.zip", "refused"),
        ("ring.jpg", "succeeded"),
    ]
    assert members[0]["explanation"]["targets"][0]["name"] == "star"
    assert [members[place]["error"]["code"] for place in (1, 2, 3)] == [
        "unreadable-image",
        "invalid-parameters",
        "unreadable-image",
    ]


def test_the_results_come_as_one_archive_that_is_made_while_it_is_sent(http: httpx2.Client) -> None:
    files = [(f"{name}.jpg", (SAMPLES / f"{name}.jpg").read_bytes()) for name in ("star", "ring")]
    batch = send(http, packed(*files, ("bad.jpg", b"x")))
    wait_for(http, batch, succeeded=2, refused=1)
    with http.stream("GET", batch["links"]["archive"]) as answer:
        assert answer.headers["content-type"] == "application/zip"
        assert "content-length" not in answer.headers
        content = answer.read()
    archive = zipfile.ZipFile(io.BytesIO(content))
    assert archive.testzip() is None
    manifest = json.loads(archive.read("manifest.json"))
    assert manifest["request"]["model"]["id"] == "shapes"
    assert [row["status"] for row in manifest["images"]] == ["succeeded", "succeeded", "refused"]
    assert manifest["images"][2]["error"]["code"] == "unreadable-image"
    listed = [name for row in manifest["images"] for name in row["files"]]
    assert sorted([*listed, "manifest.json"]) == sorted(archive.namelist())
    assert listed[:2] == ["00000-star/0.npz", "00000-star/0.overlay.png"]
    assert [row["consistency"] is None for row in manifest["images"]] == [False, False, True]
    explanation = manifest["images"][1]["explanation"]
    alone = np.load(io.BytesIO(http.get(f"/v1/explanations/{explanation}/maps/0.npz").content))["map"]
    assert np.array_equal(np.load(io.BytesIO(archive.read("00001-ring/0.npz")))["map"], alone)
    assert http.get(batch["links"]["archive"], params={"formats": "exe"}).json()["code"] == "unknown-name"


def test_uploads_make_a_batch_by_their_ids_and_pages_follow_each_other(http: httpx2.Client) -> None:
    uploads = http.post("/v1/images", files=[("image", file) for file in pictures(5)]).json()["images"]
    ids: list[dict[str, str]] = [{"id": upload["id"]} for upload in uploads]
    body = {"model": "shapes", "masks": 128, "until": 1, "images": [*ids, {"id": "nothing"}]}
    batch = http.post("/v1/batches", json=body).json()
    wait_for(http, batch, succeeded=5, refused=1)
    seen, page = [], http.get(batch["links"]["explanations"], params={"limit": 4})
    seen += page.json()
    page = http.get(page.links["next"]["url"])
    seen += page.json()
    assert "next" not in page.links
    assert [member["index"] for member in seen] == list(range(6))
    assert seen[5]["error"]["code"] == "unknown-name"


def test_the_same_image_in_a_batch_and_alone_is_one_explanation(http: httpx2.Client, star: bytes) -> None:
    batch = send(http, packed(("a.jpg", star), ("b.jpg", star)), seed="7")
    wait_for(http, batch, succeeded=2)
    ids = {member["explanation"]["id"] for member in http.get(batch["links"]["explanations"]).json()}
    alone = http.post("/v1/explanations", files={"image": star}, data=QUICK | {"seed": "7"}).json()
    assert ids == {alone["id"]}


def test_a_batch_takes_no_more_than_its_window_of_the_queue_and_is_cancelled_as_one(
    http: httpx2.Client, star: bytes
) -> None:
    batch = send(http, packed(*pictures(WINDOW + 10)), **ENDLESS)
    under_way = wait_for(http, batch, queued=WINDOW - 1, running=1)
    assert under_way["counts"] == {"running": 1, "queued": WINDOW - 1, "waiting": 10}
    assert under_way["status"] == "running"
    single = http.post("/v1/explanations", files={"image": star}, data=QUICK | {"seed": "71"}).json()
    assert single["queue_position"] <= WINDOW
    cancelled = http.post(batch["links"]["cancel"]).json()
    assert cancelled["status"] == "cancelled"
    assert cancelled["counts"] == {"cancelled": WINDOW + 10}
    assert http.get(single["links"]["self"], params={"wait": 60}).json()["status"] == "succeeded"
    assert http.get(batch["links"]["self"]).json()["counts"] == {"cancelled": WINDOW + 10}


def test_cancelling_leaves_alone_what_was_there_before_the_batch(http: httpx2.Client, star: bytes) -> None:
    fields = ENDLESS | {"seed": "72"}
    before = http.post("/v1/explanations", files={"image": star}, data=fields).json()
    batch = send(http, packed(("star.jpg", star), *pictures(1)), **fields)
    wait_for(http, batch, running=1, queued=1)
    http.post(batch["links"]["cancel"])
    assert http.get(before["links"]["self"]).json()["status"] == "running"
    http.post(before["links"]["cancel"])


def test_a_deleted_batch_is_gone_with_the_explanations_that_it_made(http: httpx2.Client, service: Service) -> None:
    batch = send(http, packed(*pictures(3)), seed="73")
    wait_for(http, batch, succeeded=3)
    members = http.get(batch["links"]["explanations"]).json()
    assert http.delete(batch["links"]["self"]).status_code == 204
    for link in ("self", "explanations", "archive"):
        assert http.get(batch["links"][link]).status_code == 404
    for member in members:
        assert http.get(member["explanation"]["links"]["self"]).status_code == 404
        folder = service.data / "blobs" / "explanations" / member["explanation"]["id"]
        assert not [path for path in folder.rglob("*") if path.is_file()]
    assert not list((service.data / "blobs" / "batches").rglob(f"{batch['id']}/*"))


def test_a_batch_that_is_deleted_while_it_is_filled_leaves_nothing(http: httpx2.Client) -> None:
    for tries in range(6):
        uploads = http.post("/v1/images", files=[("image", file) for file in pictures(12)]).json()["images"]
        images = [{"id": upload["id"]} for upload in uploads]
        before = ids_of_all(http)
        batch = http.post(
            "/v1/batches",
            json={"model": "shapes", "masks": 1_000_000, "until": 1, "seed": 740 + tries, "images": images},
        ).json()
        time.sleep(0.2 + 0.03 * tries)
        assert http.delete(batch["links"]["self"]).status_code == 204
        time.sleep(1)  # because what was just being made appears for a moment
        left = set[str]()
        for _ in range(100):
            left = ids_of_all(http) - before
            if not left:
                break
            time.sleep(0.1)
        assert left == set()


def ids_of_all(http: httpx2.Client) -> set[str]:
    return {item["id"] for item in http.get("/v1/explanations", params={"limit": 100}).json()}


WRONG: list[tuple[dict[str, Any], int, str]] = [
    ({"model": "shapes", "images": []}, 422, "invalid-parameters"),
    ({"model": "shapes", "images": [{"base64": "aaaa"}]}, 422, "invalid-parameters"),
    ({"model": "shapes", "images": ["https://example.com/a"]}, 422, "invalid-parameters"),
    ({"model": "shapes", "images": [{"id": "a", "name": ""}]}, 422, "invalid-parameters"),
    ({"model": "shapes", "images": [{"name": "a.png"}]}, 422, "invalid-parameters"),
    ({"model": "shapes", "images": [{"id": "a"}] * 1001}, 413, "batch-too-large"),
    ({"model": "nobody", "images": [{"id": "a"}]}, 422, "unknown-name"),
    ({"model": "shapes", "masks": -1, "images": [{"id": "a"}]}, 422, "invalid-parameters"),
    ({"model": "shapes"}, 422, "invalid-parameters"),
]


@pytest.mark.parametrize(("body", "status", "code"), WRONG)
def test_a_batch_that_is_wrong_as_a_whole_is_refused_at_once(
    http: httpx2.Client, body: dict[str, Any], status: int, code: str
) -> None:
    answer = http.post("/v1/batches", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_what_is_no_archive_is_refused_at_once(http: httpx2.Client, star: bytes) -> None:
    answer = http.post("/v1/batches", files={"archive": star}, data=QUICK)
    assert (answer.status_code, answer.json()["code"]) == (422, "unreadable-archive")
    assert http.get("/v1/batches/nothing").json()["code"] == "not-found"


@pytest.mark.slow
def test_a_front_end_that_is_killed_while_it_fills_a_batch_loses_none_of_it(tmp_path: Path, star: bytes) -> None:
    service = start_service(tmp_path / "data", RISE_FETCH_SECONDS="1")
    total = WINDOW + 8
    with httpx2.Client(base_url=service.url, timeout=60) as http:
        first = http.post("/v1/explanations", files={"image": star}, data=ENDLESS).json()  # so that the others wait
        batch = send(http, packed(*pictures(total)))
        assert wait_for(http, batch, queued=WINDOW)["counts"]["waiting"] == 8
        (front_end,) = (pid for pid, command in service.children().items() if "uvicorn" in command)
        os.kill(front_end, signal.SIGKILL)
        wait_until_it_answers(http)
        http.post(first["links"]["cancel"])
        assert wait_for(http, batch, succeeded=total)["status"] == "finished"
    stop_service(service)


def wait_until_it_answers(http: httpx2.Client) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            http.get("/livez")
        except httpx2.TransportError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the front end did not come back")


def a_batch(total: int = 3) -> tuple[BatchRecord, list[BatchItem]]:
    request = CanonicalRequest(model=ModelRef(id="m", digest="d"), method="rise", targets=None, parameters={})
    batch = BatchRecord(id="b", tenant="anna", request=request, total=total, created_at=datetime.now(UTC))
    return batch, [BatchItem(index=index, name=f"{index}", kind="id", source="x") for index in range(total)]


def some_batches(redis: Redis) -> BatchStore:
    batches = BatchStore(redis, keep_seconds=600)
    batches.create(*a_batch())
    return batches


def test_a_batch_and_its_members_come_back_as_they_were_stored(redis: Redis) -> None:
    batches = some_batches(redis)
    batch, members = a_batch()
    found = batches.read("b")
    assert found is not None
    assert found.request == batch.request
    assert batches.members("b", range(10)) == members
    assert batches.read("c") is None
    keys: Any = redis.keys("rise:batch:*")
    assert all(0 < int(redis.ttl(key)) <= 600 for key in keys)


def test_a_leased_batch_is_nobody_else_s_until_the_lease_is_over(redis: Redis) -> None:
    batches = some_batches(redis)
    (lease,) = batches.lease(5, seconds=60)
    assert lease.id == "b"
    assert batches.lease(5, seconds=60) == []
    batches.release(lease, seconds=0)
    (late,) = batches.lease(5, seconds=0)
    (lease,) = batches.lease(5, seconds=60)
    batches.release(late, seconds=0)
    assert batches.lease(5, seconds=60) == []
    batches.close("b")
    batches.release(lease, seconds=0)
    assert batches.lease(5, seconds=60) == []


def test_a_batch_that_has_expired_is_not_leased(redis: Redis) -> None:
    batches = some_batches(redis)
    redis.delete(batch_key("b"))
    assert batches.lease(5, seconds=60) == []
    assert redis.zcard("rise:batches") == 0


def test_a_member_is_settled_once_even_by_two(redis: Redis) -> None:
    batches = some_batches(redis)
    (first, _) = batches.waiting("b", 2)
    assert batches.settle("b", first.model_copy(update={"explanation": "one"}))
    assert not batches.settle("b", first.model_copy(update={"explanation": "two"}))
    assert batches.members("b", [0])[0].explanation == "one"
    assert [member.index for member in batches.waiting("b", 5)] == [1, 2]


def test_members_count_as_under_way_until_their_explanations_have_ended(redis: Redis) -> None:
    batches, store = some_batches(redis), ExplanationStore(redis, keep_seconds=600)
    for member, name in zip(batches.waiting("b", 3), ("one", "two", "gone"), strict=True):
        batches.settle("b", member.model_copy(update={"explanation": name}))
    for name in ("one", "two"):
        store.create(a_record(name))
    assert batches.remove_ended("b") == 2
    store.cancel("one")
    assert batches.remove_ended("b") == 1
    assert batches.statuses(batches.members("b", range(3))) == [Status.CANCELLED, Status.QUEUED, None]


def test_what_waits_in_a_cancelled_batch_is_not_settled_any_more(redis: Redis) -> None:
    batches = some_batches(redis)
    waiting = batches.waiting("b", 3)
    failure = Failure(code="unreadable-image", detail="no")
    assert batches.settle("b", waiting[0].model_copy(update={"error": failure}))
    batch = batches.read("b")
    assert batch is not None
    assert batches.cancel(batch).cancelled_at is not None
    assert not batches.settle("b", waiting[1].model_copy(update={"explanation": "late"}))
    assert batches.waiting("b", 3) == []
    assert batches.delete("b")[0].error == failure
    assert redis.keys("rise:batch*") == []


def test_a_member_is_settled_before_its_batch_is_deleted_or_finds_it_gone(redis: Redis) -> None:
    for _ in range(20):
        batches = some_batches(redis)
        settled = [member.model_copy(update={"explanation": f"e{member.index}"}) for member in batches.waiting("b", 3)]
        with ThreadPoolExecutor(2) as threads:
            deleting = threads.submit(batches.delete, "b")
            late = [member.explanation for member in settled if not batches.settle("b", member)]
        known = [member.explanation for member in deleting.result() if member.explanation is not None]
        assert len(known) + len(late) == 3
        assert {*known, *late} == {"e0", "e1", "e2"}
        assert batches.read("b") is None


def test_an_image_that_nobody_was_prepared_for_is_refused_and_stands_before_no_other(redis: Redis) -> None:
    batches = some_batches(redis)
    batch, members = a_batch()
    strange = members[0].model_copy(update={"kind": "entry", "source": "nobody has thought of this"})
    submitter = BatchSubmitter(*cast(Any, (Settings(), batches, *(None,) * 8)))  # it fails before it needs the others
    settled = submitter._submit_item(BatchContext(batch, zipfile.ZipFile(packed())), strange)
    assert asyncio.run(settled) == 0
    assert [member.index for member in batches.waiting("b", 5)] == [1, 2]
    assert (error := batches.members("b", [0])[0].error) is not None
    assert error.code == "internal"


@pytest.mark.slow
def test_a_batch_that_takes_longer_than_explanations_are_kept_loses_none_of_them(tmp_path: Path, star: bytes) -> None:
    service = start_service(tmp_path / "data", RISE_KEEP_SECONDS="4", RISE_SWEEP_SECONDS="0.5")
    try:
        with httpx2.Client(base_url=service.url, timeout=60) as http:
            first = send(http, packed(*pictures(3)))
            wait_for(http, first, succeeded=3)
            busy = http.post("/v1/explanations", files={"image": star}, data=ENDLESS).json()
            batch = send(http, packed(*pictures(3), ("later.png", encoded(picture(99, 40), "PNG"))), seed="0")
            counts = wait_for(http, batch, succeeded=3, queued=1)["counts"]
            time.sleep(9)
            assert http.get(batch["links"]["self"]).json()["counts"] == counts
            assert http.get(first["links"]["self"]).status_code == 404
            http.post(busy["links"]["cancel"])
            assert wait_for(http, batch, succeeded=4)["status"] == "finished"
            with zipfile.ZipFile(io.BytesIO(http.get(batch["links"]["archive"]).content)) as archive:
                assert len(archive.namelist()) == 1 + 4 * 2
    finally:
        stop_service(service)
