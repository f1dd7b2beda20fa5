"""The operator edits the models file of a running service."""

import os
import signal
import time
from pathlib import Path

import httpx2
import pytest

from tests.conftest import SAMPLES, start_service, stop_service

pytestmark = pytest.mark.slow

SHAPES = '[{}]\nloader = "python"\nsource = "workers.demo.shapes:load"\n{}\n'


def ready_models(url: str) -> set[str]:
    return {card["id"] for card in httpx2.get(f"{url}/v1/models").json() if card["state"] == "ready"}


def wait_for(url: str, models: set[str]) -> None:
    deadline = time.monotonic() + 60
    while ready_models(url) != models:
        assert time.monotonic() < deadline, ready_models(url)
        time.sleep(0.1)


def ask(url: str, **fields: object) -> httpx2.Response:
    files = {"image": (SAMPLES / "star.jpg").read_bytes()}
    return httpx2.post(f"{url}/v1/explanations", files=files, data={"model": "shapes", **fields})


@pytest.fixture
def models_file(tmp_path: Path) -> Path:
    path = tmp_path / "models.toml"
    path.write_text(SHAPES.format("shapes", "limits.masks = 20_000"))
    return path


def test_a_hangup_reloads_the_models_and_loses_no_explanation(tmp_path: Path, models_file: Path) -> None:
    service = start_service(tmp_path / "data", RISE_MODELS=str(models_file))
    try:
        refused = ask(service.url, masks=30_000)
        assert refused.status_code == 422
        assert "at most 20000" in refused.json()["detail"]
        waiting = [ask(service.url, seed=seed, masks=8_000, until=1).json()["id"] for seed in range(3)]
        models_file.write_text(SHAPES.format("shapes", "outputs.activation = 'softmax'") + SHAPES.format("more", ""))
        os.kill(service.worker_ids()[0], signal.SIGHUP)
        wait_for(service.url, {"shapes", "more"})
        for explanation_id in waiting:
            url = f"{service.url}/v1/explanations/{explanation_id}?wait=60"
            assert httpx2.get(url, timeout=70).json()["status"] == "succeeded"
        assert ask(service.url, masks=256).json()["id"] not in waiting
    finally:
        stop_service(service)
