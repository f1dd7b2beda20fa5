"""Drawing is bounded by what draws: routes, archives and integrations share it, whoever asks."""

import io
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from redis import Redis

from app.batches.store import BatchItem, BatchRecord
from app.contract.schemas import Checkpoint, ExplanationRecord, Status
from app.contract.settings import Settings
from app.contract.storage.object_store import BlobStore
from app.main import create_app
from app.rendering.formats import formats
from app.services import Services
from tests.conftest import SAMPLES
from workers.blackbox.device import choose_device
from workers.execution.local_run import explain_locally
from workers.registry.model_registry import ModelRegistry

LARGE = (3000, 3000)


@dataclass
class Gauge:
    """Counts how many calls of a function run at once."""

    function: Callable[..., Any]
    most: int = 0
    calls: int = 0
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, *given: Any) -> Any:
        with self._lock:
            self._now += 1
            self.calls += 1
            self.most = max(self.most, self._now)
        try:
            time.sleep(0.05)
            return self.function(*given)
        finally:
            with self._lock:
                self._now -= 1


@pytest.fixture(scope="module")
def models() -> ModelRegistry:
    collection = ModelRegistry(Settings().models, choose_device("cpu"))
    collection.load_all()
    return collection


@pytest.fixture
def http(tmp_path: Path, valkey: str, redis: Redis) -> Iterator[TestClient]:
    redis.ping()
    settings = Settings(data=tmp_path, redis_url=valkey)
    with TestClient(create_app(settings)) as client:
        yield client


@pytest.fixture
def encoding(monkeypatch: pytest.MonkeyPatch) -> Gauge:
    """What is encoded at once as a NumPy array."""
    gauge = Gauge(formats()["npy"].encode)
    monkeypatch.setattr(formats()["npy"], "encode", gauge)
    return gauge


def services_of(http: TestClient) -> Services:
    found: Services = http.app.state.services  # type: ignore[attr-defined]
    return found


def explained(
    http: TestClient, models: ModelRegistry, image: bytes, folder: Path, *, masks: int = 128
) -> ExplanationRecord:
    """Return an explanation that the front end finds in its store."""
    fields = {"model": "shapes", "masks": masks, "until": 1.0}
    record: ExplanationRecord = explain_locally(models.get("shapes"), image, fields, folder / "blobs", lambda _: None)
    services_of(http).store.create(record)
    return record


def batch_of(http: TestClient, record: ExplanationRecord, *, times: int) -> str:
    """Return the address of a batch whose members all are one explanation."""
    members = [
        BatchItem(index=index, kind="url", source="http://x", name=f"{index}.jpg", explanation=record.id)
        for index in range(times)
    ]
    batch = BatchRecord(
        id="b" * 32,
        tenant="public",
        request=record.request,
        total=times,
        created_at=datetime.now(UTC),
    )
    services_of(http).batches.create(batch, members)
    return f"/v1/batches/{batch.id}"


def large_star() -> bytes:
    buffer = io.BytesIO()
    Image.open(SAMPLES / "star.jpg").resize(LARGE).save(buffer, "JPEG")
    return buffer.getvalue()


def ask_at_once(http: TestClient, addresses: list[str]) -> list[bytes]:
    with ThreadPoolExecutor(len(addresses)) as threads:
        answers = list(threads.map(http.get, addresses))
    assert [answer.status_code for answer in answers] == [200] * len(addresses)
    return [answer.content for answer in answers]


def test_large_maps_are_drawn_one_at_a_time_in_archives_and_by_the_route(
    http: TestClient, models: ModelRegistry, encoding: Gauge, tmp_path: Path
) -> None:
    record = explained(http, models, large_star(), tmp_path)
    batch = batch_of(http, record, times=2)
    archive, lone = f"{batch}/archive?formats=npy", f"/v1/explanations/{record.id}/maps/0.npy"
    *archives, drawn = ask_at_once(http, [archive, archive, lone])
    assert (encoding.calls, encoding.most) == (5, 1)
    for content in archives:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            files = [name for name in packed.namelist() if name.endswith(".npy")]
            assert [packed.read(name) for name in files] == [drawn, drawn]


def test_a_few_small_maps_are_drawn_at_once_and_no_more(
    http: TestClient, models: ModelRegistry, encoding: Gauge, tmp_path: Path
) -> None:
    record = explained(http, models, (SAMPLES / "star.jpg").read_bytes(), tmp_path)
    batch = batch_of(http, record, times=3)
    archive, lone = f"{batch}/archive?formats=npy", f"/v1/explanations/{record.id}/maps/0.npy"
    ask_at_once(http, [archive] * 5 + [lone] * 5)
    assert encoding.calls == 20
    assert 2 <= encoding.most <= 4


def running(record: ExplanationRecord, blobs: BlobStore, counts: list[int], folder: str) -> ExplanationRecord:
    """Return a record that still runs and has its blocks in objects of so many blocks each."""
    assert record.state is not None
    array = np.concatenate(list(blobs.get_arrays([one.blob for one in record.state.checkpoints])))
    checkpoints, first = [], 0
    for count in counts:
        checkpoints.append(Checkpoint(blob=f"explanations/{record.id}/{folder}/{first}", first=first, count=count))
        blobs.put_array(checkpoints[-1].blob, array[first : first + count])
        first += count
    state = record.state.model_copy(update={"checkpoints": checkpoints})
    return record.model_copy(update={"status": Status.RUNNING, "state": state})


def test_a_map_is_drawn_from_the_newest_state_where_objects_were_merged_since_its_own_was_read(
    http: TestClient, models: ModelRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = services_of(http)
    record = explained(http, models, (SAMPLES / "star.jpg").read_bytes(), tmp_path, masks=512)
    blocks = record.state.blocks if record.state else 0
    older = running(record, services.blobs, [1] * (blocks - 2), "older")
    newer = running(record, services.blobs, [blocks], "newer")
    services.blobs.delete([checkpoint.blob for checkpoint in older.state.checkpoints[1:]])  # type: ignore[union-attr]
    read = iter([older, newer, newer, newer])
    monkeypatch.setattr(services.store, "read", lambda _: next(read))
    address = f"/v1/explanations/{record.id}/maps/0.npy"
    answer, expected = http.get(address), http.get(address)
    assert answer.status_code == 200, answer.text
    assert answer.content == expected.content
    assert answer.headers["etag"] == expected.headers["etag"]


def test_a_map_whose_objects_are_gone_for_good_is_looked_for_twice_and_no_more(
    http: TestClient, models: ModelRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = services_of(http)
    record = explained(http, models, (SAMPLES / "star.jpg").read_bytes(), tmp_path)
    gone = running(record, services.blobs, [1], "gone")
    services.blobs.delete([checkpoint.blob for checkpoint in gone.state.checkpoints])  # type: ignore[union-attr]
    read = iter([gone, gone])
    monkeypatch.setattr(services.store, "read", lambda _: next(read))
    answer = http.get(f"/v1/explanations/{record.id}/maps/0.npy")
    assert (answer.status_code, answer.json()["code"]) == (410, "expired")
