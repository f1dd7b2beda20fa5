"""A client that is generated from the committed document alone does the whole round, from creating to cancelling."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import SAMPLES, Service
from tests.support.environments import SECONDS_TO_INSTALL, environment

pytestmark = pytest.mark.slow

STAR = SAMPLES / "star.jpg"
DOCUMENT = Path(__file__).resolve().parents[3] / "app" / "openapi.json"
ROUND = Path(__file__).resolve().parents[2] / "support" / "generated_client_script.py"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds the package `generated`."""
    folder = tmp_path_factory.mktemp("client")
    generator = environment("openapi-python-client") / "bin" / "openapi-python-client"
    command: list[str | Path] = [
        generator,
        "generate",
        "--path",
        DOCUMENT,
        "--output-path",
        folder / "generated",
        "--meta",
        "none",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.timeout(2 * SECONDS_TO_INSTALL)
def test_a_generated_client_creates_follows_fetches_and_cancels(
    service: Service, generated: Path, tmp_path: Path
) -> None:
    seen = _round(service.url, generated, tmp_path / "map.npy")
    width, height = Image.open(STAR).size
    assert seen["explained"]["events"][0] == "queued"
    assert "progress" in seen["explained"]["events"]
    assert seen["explained"]["events"][-1] == seen["explained"]["status"] == "succeeded"
    assert (seen["explained"]["name"], seen["explained"]["width"]) == ("ring", width)
    assert np.load(tmp_path / "map.npy").shape == (height, width)
    assert seen["cancelled"]["status"] == "cancelled"
    assert seen["cancelled"]["events"][-1] == "cancelled"
    assert seen["refused"] == {"code": "unknown-name", "field": "/model"}


def _round(address: str, generated: Path, into: Path) -> dict[str, Any]:
    python = environment("openapi-python-client") / "bin" / "python"
    done = subprocess.run(
        [python, ROUND, address, STAR, into],
        env={"PYTHONPATH": str(generated)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen
