"""What must survive: workers that are killed, stopped or taken away."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest
from numpy.typing import NDArray

from app.contract.schemas import ExplanationRecord, JsonObject
from app.contract.settings import Settings
from app.contract.storage.object_store import BlobStore
from app.rendering.formats import RenderOptions, npy
from app.rendering.renderer import Renderer
from tests.app.batches.test_surveys import report_of, send
from tests.conftest import SAMPLES, Service, start_service, stop_service
from tests.support.annotated_pictures import draw_pictures
from workers.blackbox.device import choose_device
from workers.execution.local_run import explain_locally
from workers.registry.model_registry import ModelRegistry

pytestmark = pytest.mark.slow

MASKS = 10_000


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[Service]:
    """A service of its own, to be broken."""
    running = start_service(tmp_path / "data", RISE_CHECKPOINT_SECONDS="0.3")
    yield running
    if running.process.poll() is None:
        stop_service(running)


def submit(service: Service, **fields: object) -> str:
    data = {"model": "shapes", "until": "1", **{name: str(value) for name, value in fields.items()}}
    files = {"image": (SAMPLES / "star.jpg").read_bytes()}
    answer = httpx2.post(f"{service.url}/v1/explanations", files=files, data=data, timeout=30)
    assert answer.status_code == 202, answer.text
    return service.url + answer.headers["location"]


def wait_for_masks(here: str, masks: int) -> None:
    for _ in range(2000):
        body = httpx2.get(here, timeout=30).json()
        assert body["status"] in {"queued", "running"}, body
        if body["progress"] and body["progress"]["masks"] >= masks:
            return
        time.sleep(0.02)
    raise AssertionError("no progress")


def explained_here(folder: Path, **fields: object) -> ExplanationRecord:
    """Explain the star in this process; leave its blobs in a folder of that name."""
    collection = ModelRegistry(Settings().models, choose_device("cpu"))
    collection.load_all()
    blobs = folder / "local"
    blobs.mkdir()
    image = (SAMPLES / "star.jpg").read_bytes()
    return explain_locally(collection.get("shapes"), image, {"model": "shapes", **fields}, blobs, lambda _: None)


def undisturbed_map(folder: Path, masks: int) -> bytes:
    record = explained_here(folder, masks=masks, until=1.0)
    renderer = Renderer(BlobStore((folder / "local").as_uri()))
    return renderer.render_target(record, 0, lambda sheet: npy.encode(sheet, RenderOptions()))


def the_map(here: str) -> NDArray[np.float32]:
    answer = httpx2.get(f"{here}/maps/0.npy", timeout=30)
    assert answer.is_success, answer.text
    array: NDArray[np.float32] = np.load(io.BytesIO(answer.content))
    return array


def ended(here: str) -> dict[str, object]:
    for _ in range(20):
        body: dict[str, object] = httpx2.get(here, params={"wait": 10}, timeout=60).json()
        if body["status"] not in {"queued", "running"}:
            return body
    raise AssertionError("it does not end")


def test_a_job_whose_worker_is_killed_finishes_with_the_map_of_an_undisturbed_run(
    fragile: Service, tmp_path: Path
) -> None:
    here = submit(fragile, masks=MASKS)
    wait_for_masks(here, 2000)
    (victim,) = fragile.worker_ids()
    os.kill(victim, signal.SIGKILL)
    body = ended(here)
    assert body["status"] == "succeeded", body
    assert body["provenance"]["masks_used"] == 10_112  # type: ignore[index]
    assert victim not in fragile.worker_ids()
    expected = np.load(io.BytesIO(undisturbed_map(tmp_path, MASKS)))
    assert np.allclose(the_map(here), expected, atol=1e-6)


def test_an_audit_whose_worker_is_killed_goes_on_and_says_the_same(fragile: Service) -> None:
    here = submit(fragile, masks=512, grid=16, seed=5)
    assert ended(here)["status"] == "succeeded"
    httpx2.post(f"{here}/audit", timeout=30).raise_for_status()
    (victim,) = fragile.worker_ids()
    for _ in range(2000):
        progress = httpx2.get(f"{here}/audit", timeout=30).json()["progress"]
        if progress and progress["masks"] >= 1024:
            break
        time.sleep(0.01)
    os.kill(victim, signal.SIGKILL)
    audit = httpx2.get(f"{here}/audit?wait=60", timeout=90).json()
    assert audit["status"] == "succeeded", audit
    events = httpx2.get(f"{here}/audit/events", timeout=30).text
    assert events.count("event: running") == 2
    httpx2.delete(here, timeout=30).raise_for_status()
    again = submit(fragile, masks=512, grid=16, seed=5)
    assert again == here
    assert ended(here)["status"] == "succeeded"
    undisturbed = httpx2.post(f"{here}/audit", headers={"Prefer": "wait=60"}, timeout=90).json()
    assert undisturbed["checks"] == audit["checks"]
    assert undisturbed["passes"] == audit["passes"]


@pytest.mark.slow
def test_a_survey_whose_worker_is_killed_twice_has_the_report_of_an_undisturbed_one(fragile: Service) -> None:
    pictures = draw_pictures(marked=12, unmarked=4, others=20, seed=1)  # two chunks
    with httpx2.Client(base_url=fragile.url, timeout=30) as http:
        batch = send(http, pictures, model="clever-hans", masks="256")
        here = batch["links"]["self"]
        wait_until(lambda: http.get(here).json()["counts"].get("succeeded", 0) >= 10)
        kill_worker(fragile)  # while it explains
        wait_until(lambda: http.get(batch["links"]["report"]).json().get("ended", 36) == 36)
        kill_worker(fragile)  # while it measures
        disturbed = report_of(http, batch)
        counts = http.get(here).json()["counts"]
        http.delete(here).raise_for_status()
        undisturbed = report_of(http, send(http, pictures, model="clever-hans", masks="256"))
    assert counts == {"succeeded": 36}
    assert disturbed["images"] == 36
    assert disturbed["left_out"] == []
    assert disturbed["sentences"] == undisturbed["sentences"]
    assert without_addresses(disturbed["labels"]) == without_addresses(undisturbed["labels"])
    assert without_addresses(disturbed["clusters"]) == without_addresses(undisturbed["clusters"])


def kill_worker(service: Service) -> None:
    """Kill the worker, once there is one."""
    wait_until(lambda: bool(service.worker_ids()))
    os.kill(service.worker_ids()[0], signal.SIGKILL)


def wait_until(holds: Callable[[], bool]) -> None:
    for _ in range(3000):
        if holds():
            return
        time.sleep(0.02)
    raise AssertionError("it does not come true")


def without_addresses(rows: list[JsonObject]) -> list[JsonObject]:
    """Return figures without addresses, which have the batch's id."""
    return [{name: value for name, value in row.items() if name not in {"members", "mean_map"}} for row in rows]


def test_a_worker_that_is_asked_to_stop_hands_its_job_back_within_seconds(fragile: Service) -> None:
    here = submit(fragile, masks=MASKS)
    wait_for_masks(here, 2000)
    (leaving,) = fragile.worker_ids()
    os.kill(leaving, signal.SIGTERM)
    asked = time.monotonic()
    while leaving in fragile.worker_ids() and time.monotonic() - asked < 10:
        time.sleep(0.05)
    assert leaving not in fragile.worker_ids()
    assert ended(here)["status"] == "succeeded"


def test_a_frozen_worker_that_wakes_up_late_does_not_spoil_the_result(fragile: Service) -> None:
    here = submit(fragile, masks=MASKS)
    wait_for_masks(here, 2000)
    (frozen,) = fragile.worker_ids()
    os.kill(frozen, signal.SIGSTOP)
    other = subprocess.Popen(
        [sys.executable, "-m", "workers", "worker"],
        env={**os.environ, **environment_of(frozen), "RISE_HEARTBEAT_SECONDS": "0.5", "OMP_NUM_THREADS": "1"},
    )
    try:
        assert ended(here)["status"] == "succeeded"
        before = the_map(here)
        os.kill(frozen, signal.SIGCONT)
        time.sleep(3)
        assert np.array_equal(the_map(here), before)
        assert httpx2.get(here, timeout=30).json()["status"] == "succeeded"
    finally:
        other.terminate()
        other.wait(20)


def environment_of(pid: int) -> dict[str, str]:
    pairs = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    found = dict(pair.decode().split("=", 1) for pair in pairs if b"=" in pair)
    return {name: found[name] for name in ("REDIS_URL", "RISE_REDIS_URL", "RISE_DATA")}


def test_the_front_end_is_started_again_and_clients_find_everything(fragile: Service) -> None:
    here = submit(fragile, masks=256)
    assert ended(here)["status"] == "succeeded"
    (front_end,) = [pid for pid, command in fragile.children().items() if "uvicorn" in command]
    os.kill(front_end, signal.SIGKILL)
    for _ in range(100):
        try:
            status = httpx2.get(here, timeout=5).json()["status"]
        except httpx2.TransportError:
            time.sleep(0.2)
            continue
        assert status == "succeeded"
        return
    raise AssertionError("the front end does not come back")


def test_the_redis_server_is_started_again_with_everything_it_had_accepted(fragile: Service) -> None:
    here = submit(fragile, masks=MASKS)
    wait_for_masks(here, 2000)
    (server,) = [pid for pid, command in fragile.children().items() if "valkey" in command or "redis-server" in command]
    os.kill(server, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        answer = httpx2.get(here, timeout=30)
        assert answer.status_code in {200, 503}
        if answer.status_code == 200 and answer.json()["status"] == "succeeded":
            return
        time.sleep(0.2)
    raise AssertionError("it does not end")
