"""Models that hang, crash and break their device cost a worker, and at most three; the service goes on."""

import io
import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.app.batches.test_surveys import report_of, send
from tests.conftest import SAMPLES, Service, start_service, stop_service
from tests.support.annotated_pictures import draw_pictures
from tests.support.faulty_model import MOOD

pytestmark = pytest.mark.slow

MODELS = """
[shapes]
loader = "python"
source = "workers.demo.shapes:load"
limits.batch = 32

[moody]
loader = "python"
source = "tests.support.faulty_model:load"
limits.batch = 32
"""
STALL_SECONDS = 2
LEAVE_SECONDS = 5
_seeds = count(1)


@dataclass(frozen=True)
class Ward:
    """A service with a model that misbehaves when it is told to."""

    service: Service
    mood: Path

    @property
    def log(self) -> str:
        return (self.service.data.parent / f"{self.service.data.name}.log").read_text()

    def ask(self, model: str = "moody", **fields: object) -> str:
        """Return the address of an explanation that nobody has asked for yet."""
        data = {"model": model, "until": "1", "masks": "2048", "seed": str(next(_seeds))}
        data |= {name: str(value) for name, value in fields.items()}
        answer = self.post("/v1/explanations", data=data)
        for _ in range(100):
            if answer.status_code != 503:
                break
            time.sleep(0.2)  # because the only worker has just been lost, and the next one is being started
            answer = self.post("/v1/explanations", data=data)
        assert answer.status_code == 202, answer.text
        return self.service.url + answer.headers["location"]

    def post(self, path: str, **options: Any) -> httpx2.Response:
        files = {"image": (SAMPLES / "star.jpg").read_bytes()}
        return httpx2.post(self.service.url + path, files=files, timeout=120, **options)

    def end(self, here: str) -> Any:
        for _ in range(20):
            body = httpx2.get(here, params={"wait": 10}, timeout=60).json()
            if body["status"] not in {"queued", "running"}:
                return body
        raise AssertionError(f"it does not end: {body}")

    def attempts(self, here: str) -> int:
        """Return how often an explanation was begun."""
        with httpx2.stream("GET", f"{here}/events", timeout=30) as stream:
            stream.read()
            return len(re.findall(r"^event: running$", stream.text, re.MULTILINE))


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    folder = tmp_path_factory.mktemp("hospital")
    (folder / "models.toml").write_text(MODELS)
    mood = folder / "mood"
    mood.write_text("well")
    settings = {"RISE_MODELS": str(folder / "models.toml"), "RISE_STALL_SECONDS": str(STALL_SECONDS), MOOD: str(mood)}
    service = start_service(folder / "data", **settings)
    yield Ward(service, mood)
    stop_service(service)


@pytest.fixture
def ward(hospital: Ward) -> Iterator[Ward]:
    """The service, which must be none the worse for whatever a test does to it."""
    hospital.mood.write_text("well")
    yield hospital
    hospital.mood.write_text("well")
    assert hospital.end(hospital.ask("shapes"))["status"] == "succeeded"
    assert hospital.end(hospital.ask("moody"))["status"] == "succeeded"


def array_at(address: str) -> NDArray[np.float32]:
    array: NDArray[np.float32] = np.load(io.BytesIO(httpx2.get(address, timeout=30).content))
    return array


def lost_attempts(ward: Ward, reason: str) -> int:
    text = httpx2.get(f"{ward.service.url}/metrics", timeout=30).text
    found = re.search(rf'^rise_lost_attempts_total{{model="moody",reason="{reason}"}} (\S+)$', text, re.MULTILINE)
    return int(float(found[1])) if found else 0


@pytest.mark.parametrize(
    ("mood", "code", "words", "reason"),
    [
        ("is killed", "worker-lost", r"every worker that ran this explanation was lost", "worker-lost"),
        ("hangs", "timed-out", r"model 'moody' made no progress for 2 seconds", "stalled"),
        ("keeps the interpreter", "timed-out", r"model 'moody' made no progress for 2 seconds", "stalled"),
        ("aborts", "worker-lost", r"every worker that ran this explanation was lost", "worker-lost"),
        ("breaks the device", "model-failed", r"broke under model 'moody': AcceleratorError: CUDA", "device-broken"),
    ],
)
def test_an_explanation_that_takes_its_worker_with_it_fails_after_three_attempts_with_the_true_reason(
    ward: Ward, mood: str, code: str, words: str, reason: str
) -> None:
    before = lost_attempts(ward, reason)
    ward.mood.write_text(mood)
    here = ward.ask()
    body = ward.end(here)
    assert body["status"] == "failed", body
    assert body["error"]["code"] == code, body["error"]
    assert re.search(words, body["error"]["detail"]), body["error"]
    assert ward.attempts(here) == 3
    assert lost_attempts(ward, reason) == before + 3


def test_a_survey_that_takes_its_worker_with_it_fails_after_three_attempts_and_only_then_until_it_is_tried_again(
    ward: Ward,
) -> None:
    ward.end(ward.ask())  # because a model must be there
    pictures = draw_pictures(marked=0, unmarked=5, others=0, seed=3)
    with httpx2.Client(base_url=ward.service.url, timeout=60) as http:
        batch = send(http, pictures, model="moody")
        while http.get(batch["links"]["self"]).json()["status"] != "finished":
            time.sleep(0.1)
        ward.mood.write_text("is killed")
        lost = ward.log.count("was ended by SIGKILL")
        here = batch["links"]["report"]
        reasons = set()
        while (answer := http.get(here)).status_code == 202:
            reasons.add(answer.json()["reason"])
            time.sleep(0.1)
        assert "every worker that computed it was lost" in answer.json()["detail"], answer.text
        assert reasons == {None, "no worker serves model 'moody' any more"}
        assert [http.get(here).json()["detail"] for _ in range(5)] == [answer.json()["detail"]] * 5
        time.sleep(2)
        assert ward.log.count("was ended by SIGKILL") == lost + 3
        ward.mood.write_text("well")
        assert http.post(here).status_code == 202
        assert report_of(http, batch)["images"] == 5


def test_an_explanation_whose_model_hangs_once_ends_with_the_map_of_an_undisturbed_run(ward: Ward) -> None:
    seed = next(_seeds)
    undisturbed = ward.ask("shapes", seed=seed)
    assert ward.end(undisturbed)["status"] == "succeeded"
    ward.mood.write_text("hangs once")
    here = ward.ask("moody", seed=seed)
    assert ward.end(here)["status"] == "succeeded"
    assert ward.attempts(here) == 2
    assert np.array_equal(array_at(f"{here}/maps/0.npy"), array_at(f"{undisturbed}/maps/0.npy"))
    assert "model 'moody' made no progress for 2 s: this worker ends itself" in ward.log
    assert re.search(r'File ".*faulty_model.py", line \d+ in _live', ward.log), "no stack"
    assert "worker 1 ended itself because a model made no progress; its log says which; starting it again" in ward.log


def test_a_model_may_take_longer_for_a_block_than_the_limit_as_long_as_every_batch_keeps_to_it(ward: Ward) -> None:
    ward.mood.write_text("is slow")
    here = ward.ask(masks=128)
    body = ward.end(here)
    assert (body["status"], body["provenance"]["blocks"]) == ("succeeded", 1)
    assert ward.attempts(here) == 1


def test_an_error_of_the_device_that_breaks_nothing_fails_at_once_and_costs_no_worker(ward: Ward) -> None:
    worker_ids = ward.service.worker_ids()
    ward.mood.write_text("has no kernel")
    here = ward.ask()
    body = ward.end(here)
    assert body["error"]["code"] == "model-failed"
    assert ward.attempts(here) == 1
    assert ward.service.worker_ids() == worker_ids


@pytest.mark.parametrize(
    ("mood", "status", "code"),
    [
        ("hangs", 504, "timed-out"),
        ("is killed", 503, "unavailable"),
        ("breaks the device", 502, "model-failed"),
    ],
)
def test_whoever_waits_for_a_prediction_is_told_what_happened(ward: Ward, mood: str, status: int, code: str) -> None:
    ward.mood.write_text(mood)
    answer = ward.post("/v1/models/moody/predict")
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


def test_whoever_waits_for_metrics_is_told_that_the_model_hangs(ward: Ward) -> None:
    here = ward.ask()
    assert ward.end(here)["status"] == "succeeded"
    ward.mood.write_text("hangs")
    answer = httpx2.post(f"{here}/metrics", json={"metrics": ["deletion"]}, timeout=60)
    assert (answer.status_code, answer.json()["code"]) == (504, "timed-out"), answer.text
    assert "model 'moody'" in answer.json()["detail"]


def test_a_worker_that_stands_still_is_killed_and_replaced(ward: Ward) -> None:
    (frozen,) = ward.service.worker_ids()
    os.kill(frozen, signal.SIGSTOP)
    assert ward.end(ward.ask())["status"] == "succeeded"
    assert frozen not in ward.service.worker_ids()
    assert "worker 1 lives and shows no sign of it for" in ward.log
    assert "worker 1 was ended by SIGKILL; starting it again" in ward.log


def test_a_worker_that_is_asked_to_leave_does_so_within_seconds_also_in_the_middle_of_a_long_block(ward: Ward) -> None:
    ward.mood.write_text("is slow")
    here = ward.ask(grid=16, masks=512)  # one block of 512 masks, of which a batch of 32 takes a second
    while httpx2.get(here, timeout=30).json()["status"] != "running":
        time.sleep(0.1)
    time.sleep(2)
    (leaving,) = ward.service.worker_ids()
    os.kill(leaving, signal.SIGTERM)
    asked = time.monotonic()
    while leaving in ward.service.worker_ids():
        time.sleep(0.05)
        assert time.monotonic() - asked < LEAVE_SECONDS
    ward.mood.write_text("well")
    assert ward.end(here)["status"] == "succeeded"
    assert ward.attempts(here) == 2
