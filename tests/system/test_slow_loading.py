"""A model that takes a minute to load, in a running service."""

import time
from pathlib import Path

import httpx2
import pytest

from tests.conftest import start_service, stop_service
from tests.support.api_requests import explain

pytestmark = pytest.mark.slow

MODELS = """
[slow]
loader = "python"
source = "tests.support.slow_model:load"

[shapes]
loader = "python"
source = "workers.demo.shapes:load"
"""


def test_another_model_is_explained_while_one_takes_a_minute_to_load(tmp_path: Path, star: bytes) -> None:
    (tmp_path / "models.toml").write_text(MODELS)
    service = start_service(tmp_path / "data", RISE_MODELS=str(tmp_path / "models.toml"))
    try:
        with httpx2.Client(base_url=service.url, timeout=60) as http:
            began = time.time()
            body = explain(http, star, model="shapes", masks=64, until=1).json()
            states = {model["id"]: model["state"] for model in http.get("/v1/models").json()}
            refused = explain(http, star, model="slow", masks=64)
        assert body["status"] == "succeeded"
        assert states == {"slow": "loading", "shapes": "ready"}, "it was over too soon to show anything"
        assert time.time() - began < 30, "it waited for the load"
        assert (refused.status_code, refused.json()["code"]) == (503, "no-worker")
    finally:
        stop_service(service)
