"""The whole service with its blobs in S3: a server of somebody else, over real HTTP, that may be away or silent."""

import io
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import numpy as np
import pytest

from app.contract.errors import BlobNotFoundError, StorageError
from app.contract.storage.object_store import BATCHES, EXPLANATIONS, PREDICTIONS, BlobStore, image_blob
from tests.app.batches.test_batches import pictures, send, wait_for
from tests.app.batches.test_zip_reader import packed
from tests.conftest import Service, start_service, stop_service
from tests.support.api_requests import WAIT, explain
from tests.support.s3_server import open_uploads, s3_server, settings_for
from tests.support.tcp_gate import Gate, gate_to
from tests.system.test_worker_faults import ended, submit, the_map, wait_for_masks

pytestmark = pytest.mark.slow

KEEP_SECONDS = 20
STORAGE_SECONDS = 2.0


@pytest.fixture(scope="module")
def s3_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as port:
        yield port


@pytest.fixture(scope="module")
def gate(s3_port: int) -> Iterator[Gate]:
    with gate_to(s3_port) as between:
        yield between


@pytest.fixture(scope="module")
def remote(gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service, with everything in S3."""
    running = start_service(
        tmp_path_factory.mktemp("remote") / "data",
        **settings_for(gate.port),
        RISE_KEEP_SECONDS=str(KEEP_SECONDS),
        RISE_SWEEP_SECONDS="0.5",
        RISE_STORAGE_SECONDS=str(STORAGE_SECONDS),
        RISE_CHECKPOINT_SECONDS="0.2",
    )
    yield running
    assert not (running.data / "blobs").exists()
    stop_service(running)


@pytest.fixture
def http(remote: Service, gate: Gate) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=remote.url, timeout=120) as client:
        yield client
    gate.reopen()


@pytest.fixture
def blobs(s3_port: int, monkeypatch: pytest.MonkeyPatch) -> BlobStore:
    """The same bucket, seen from here."""
    for name, value in settings_for(s3_port).items():
        monkeypatch.setenv(name, value)
    return BlobStore(settings_for(s3_port)["RISE_STORAGE"])


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.1)


def test_an_object_of_a_bucket_that_is_not_there_is_not_said_to_be_gone(
    s3_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings_for(s3_port).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BlobNotFoundError):
        BlobStore("s3://maps/rise").get(image_blob("one"))
    with pytest.raises(StorageError, match="the storage that is set does not exist"):
        BlobStore("s3://nobody/rise").get(image_blob("one"))


def test_an_explanation_lives_in_s3_from_its_image_to_its_end(
    http: httpx2.Client, blobs: BlobStore, star: bytes
) -> None:
    body = explain(http, star, masks=512, until=1).json()
    assert body["status"] == "succeeded", body
    assert image_blob(body["id"]) in blobs.names(EXPLANATIONS)
    map_of_star = np.load(io.BytesIO(http.get(body["targets"][0]["links"]["npy"]).content))
    assert map_of_star.max() > 0
    assert http.get(f"{body['links']['self']}/image").content == star
    assert http.delete(body["links"]["self"]).status_code == 204
    assert not [name for name in blobs.names(EXPLANATIONS) if body["id"] in name]


def test_what_has_expired_leaves_the_bucket(http: httpx2.Client, blobs: BlobStore, star: bytes) -> None:
    body = explain(http, star, masks=512, until=1, seed=2).json()
    assert any(body["id"] in name for name in blobs.names(EXPLANATIONS))
    until(lambda: http.get(body["links"]["self"]).status_code == 410)
    until(lambda: not any(body["id"] in name for name in blobs.names(EXPLANATIONS)))


def test_predictions_uploads_and_batches_go_through_s3_and_leave_nothing_open(
    http: httpx2.Client, blobs: BlobStore, s3_port: int, star: bytes
) -> None:
    seen = http.post("/v1/models/shapes/predict", files={"image": star})
    assert seen.json()[0]["name"] == "star", seen.text
    until(lambda: blobs.names(PREDICTIONS) == [])
    upload = http.post("/v1/images", files={"image": star}).json()["images"][0]
    asked = {"image": {"id": upload["id"]}, "model": "shapes", "masks": 128}
    assert http.post("/v1/explanations", json=asked, headers=WAIT).json()["status"] == "succeeded"
    large = ("large.bin", np.random.default_rng(0).bytes(9_000_000))  # so that the archive has more than one part
    batch = send(http, packed(*pictures(3), large))
    assert wait_for(http, batch, succeeded=3, refused=1)["status"] == "finished"
    until(lambda: blobs.names(BATCHES) == [])
    assert open_uploads(s3_port) == 0
    assert http.delete(f"/v1/images/{upload['id']}").status_code == 204


def test_while_s3_is_away_nothing_is_accepted_and_everything_says_why(
    http: httpx2.Client, gate: Gate, star: bytes
) -> None:
    done = explain(http, star, masks=256, until=1, seed=3).json()
    gate.shut()
    refused = explain(http, star, masks=256, until=1, seed=4)
    drawn = http.get(done["targets"][0]["links"]["npy"])
    predicted = http.post("/v1/models/shapes/predict", files={"image": star})
    for answer in (refused, drawn, predicted):
        assert (answer.status_code, answer.json()["code"]) == (503, "storage-unavailable"), answer.text
        assert int(answer.headers["retry-after"]) > 0
        assert "127.0.0.1" not in answer.text
    assert http.get(done["links"]["self"]).json()["status"] == "succeeded"
    readiness = http.get("/readyz")
    assert readiness.status_code == 503
    assert (readiness.json()["storage"], readiness.json()["redis"]) == ("failing", "ok")
    assert done["id"] in [item["id"] for item in http.get("/v1/explanations?limit=100").json()]
    gate.reopen()
    until(lambda: http.get("/readyz").status_code == 200)
    assert explain(http, star, masks=256, until=1, seed=4).json()["status"] == "succeeded"
    assert http.get(done["targets"][0]["links"]["npy"]).status_code == 200


def test_while_s3_is_silent_requests_are_refused_in_time_and_others_are_answered(
    http: httpx2.Client, gate: Gate, star: bytes
) -> None:
    done = explain(http, star, masks=256, until=1, seed=5).json()
    gate.go_silent()
    with ThreadPoolExecutor(4) as threads:
        refused = [threads.submit(explain, http, star, masks=256, until=1, seed=seed) for seed in range(60, 64)]
        assert http.get(done["links"]["self"]).json()["status"] == "succeeded"
        for answer in refused:
            assert answer.result().json()["code"] == "storage-unavailable"
    gate.reopen()
    until(lambda: http.get("/readyz").status_code == 200)


def test_a_job_outlasts_an_outage_and_gives_the_map_of_an_undisturbed_run(
    remote: Service, http: httpx2.Client, gate: Gate
) -> None:
    here = submit(remote, masks=6000, seed=7)
    wait_for_masks(here, 1500)
    started = http.get(here).json()["started_at"]
    gate.shut()
    before = http.get(here).json()["progress"]["masks"]
    wait_for_masks(here, before + 500)  # because it goes on without checkpoints
    until(lambda: http.get(here).json()["progress"]["masks"] >= 6000)
    waiting = http.get(here).json()
    assert waiting["status"] == "running"  # because there is no map that could be served
    until(lambda: http.get(here).json()["expires_at"] > waiting["expires_at"])  # however long that takes
    gate.reopen()
    body = ended(here)
    assert body["status"] == "succeeded", body
    assert body["started_at"] == started  # nobody had to begin again
    until(lambda: http.get("/readyz").status_code == 200)
    drawn = the_map(here)  # before it expires
    undisturbed = submit(remote, masks=6000, seed=7, targets='[{"label": "star"}]')
    assert ended(undisturbed)["status"] == "succeeded"
    assert np.allclose(drawn, the_map(undisturbed), atol=1e-6)


def test_a_bucket_that_is_not_there_is_said_so(s3_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in settings_for(s3_port).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StorageError, match="does not exist"):
        BlobStore("s3://nowhere/rise").ping()
