"""One explanation computed by several workers: the same map, faster, whoever is lost on the way."""

import io
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest
from numpy.typing import NDArray
from redis import Redis
from rq import Worker

from tests.conftest import SAMPLES
from tests.support.replicas import replicas
from tests.system.test_worker_faults import ended, explained_here, the_map, undisturbed_map, wait_for_masks

pytestmark = pytest.mark.slow

MASKS = 10_112
SOON = {"RISE_SHARE_SECONDS": "0.3", "RISE_HEARTBEAT_SECONDS": "0.5", "RISE_CHECKPOINT_SECONDS": "0.3"}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], NDArray[np.float32]]:
    """Give the map of one worker that nobody disturbs."""

    def found(masks: int) -> NDArray[np.float32]:
        array: NDArray[np.float32] = np.load(io.BytesIO(undisturbed_map(tmp_path_factory.mktemp("alone"), masks)))
        return array

    return found


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[str]:
    """The address of a front end with two workers."""
    with replicas(tmp_path, front_ends=1, workers=2, **SOON) as (address,):
        yield address


@pytest.fixture
def server(pair: str, tmp_path: Path) -> Iterator[Redis]:
    """A client of their server."""
    assert pair
    with Redis.from_url(f"unix://{tmp_path}/s") as client:
        yield client


def submit(address: str, **fields: object) -> str:
    data = {"model": "shapes", "until": "1", **{name: str(value) for name, value in fields.items()}}
    files = {"image": (SAMPLES / "star.jpg").read_bytes()}
    answer = httpx2.post(f"{address}/v1/explanations", files=files, data=data, timeout=30)
    assert answer.status_code == 202, answer.text
    return address + answer.headers["location"]


def process_of(server: Redis, job: str) -> int:
    """Return the process that runs a job whose name begins like this."""
    for _ in range(500):
        for worker in Worker.all(server):
            if any(one.job_id.startswith(job) for one in worker.get_current_executions()):
                assert worker.pid is not None
                return worker.pid
        time.sleep(0.02)
    raise AssertionError(f"nobody runs {job}")


def test_an_idle_worker_takes_its_part_and_the_map_is_the_same(
    pair: str, tmp_path: Path, undisturbed: Callable[[int], NDArray[np.float32]]
) -> None:
    here = submit(pair, masks=MASKS)
    body = ended(here)
    assert body["status"] == "succeeded", body
    assert body["provenance"]["workers"] == 2  # type: ignore[index]
    assert body["provenance"]["masks_used"] == MASKS  # type: ignore[index]
    assert np.allclose(the_map(here), undisturbed(MASKS), atol=1e-6)
    with Redis.from_url(f"unix://{tmp_path}/s") as server:
        assert server.keys("rise:shards:*") == []
    blobs = {path.name for path in (tmp_path / "data" / "blobs" / "explanations").rglob("*.npy")}
    starts = sorted(int(name.partition("-")[0]) for name in blobs)
    assert len(starts) == len(set(starts)), "shards that were used are removed"


def test_it_stops_early_at_the_block_at_which_one_worker_stops(pair: str, tmp_path: Path) -> None:
    fields: dict[str, object] = {"masks": 100_000, "until": 0.9985, "grid": 12}
    shared = ended(submit(pair, **fields))["provenance"]
    alone = explained_here(tmp_path, **fields).provenance
    assert shared["workers"] == 2  # type: ignore[index]
    assert shared["stopped"] == "reliable"  # type: ignore[index]
    assert alone is not None
    assert shared["blocks"] == alone.blocks  # type: ignore[index]


def test_a_lost_assistant_costs_a_shard_and_not_the_explanation(
    pair: str, server: Redis, undisturbed: Callable[[int], NDArray[np.float32]]
) -> None:
    here = submit(pair, masks=MASKS)
    victim = process_of(server, "assist-")
    wait_for_masks(here, 2000)
    os.kill(victim, signal.SIGKILL)
    body = ended(here)
    assert body["status"] == "succeeded", body
    assert np.allclose(the_map(here), undisturbed(MASKS), atol=1e-6)


def test_what_assistants_had_done_is_not_lost_with_the_leader(
    pair: str, server: Redis, undisturbed: Callable[[int], NDArray[np.float32]]
) -> None:
    here = submit(pair, masks=MASKS)
    process_of(server, "assist-")
    wait_for_masks(here, 2000)
    os.kill(process_of(server, here.rpartition("/")[2]), signal.SIGKILL)
    body = ended(here)
    assert body["status"] == "succeeded", body
    assert np.allclose(the_map(here), undisturbed(MASKS), atol=1e-6)


def test_an_assistant_leaves_for_whatever_waits(pair: str, server: Redis) -> None:
    long = submit(pair, masks=60_000)
    process_of(server, "assist-")
    short = ended(submit(pair, masks=256, seed=7))
    assert short["status"] == "succeeded"
    assert httpx2.get(long, timeout=30).json()["status"] == "running"
    process_of(server, "assist-")  # and comes back
    httpx2.post(f"{long}/cancel", timeout=30)
    assert ended(long)["status"] == "cancelled"
    for _ in range(200):
        if not server.llen("rq:queue:default") and not server.zcard("rq:wip:default"):
            return
        time.sleep(0.05)
    raise AssertionError("somebody still assists with a cancelled explanation")
