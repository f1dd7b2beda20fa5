"""The running service keeps to its OpenAPI document: all checks of schemathesis, with requests made from the document.

It sends what the document allows and what it does not, one by one and as sequences over what earlier requests made.
Without `schemathesis.toml` it reports one thing, ST202: a request that the document allows is refused by 422. Such
refusals are promised (an image that cannot be read, an unknown name, an idempotency key that came with another
request), and no schema can say which they are; the file names the operations that have them.
`RISE_SCHEMA_EXAMPLES` says how many examples of each operation and phase; `RISE_SCHEMA_SEED` where chance starts.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.conftest import SAMPLES, Service, start_service, stop_service
from tests.support.api_requests import explain

pytestmark = pytest.mark.slow

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
EXAMPLES = int(os.environ.get("RISE_SCHEMA_EXAMPLES", "2"))
SEED = os.environ.get("RISE_SCHEMA_SEED", "1")


@pytest.fixture
def examined(tmp_path: Path) -> Iterator[Service]:
    """A service of its own, because what is left on the queue would keep other tests waiting."""
    running = start_service(tmp_path / "data")
    with httpx2.Client(base_url=running.url, timeout=120) as http:
        for seed in range(10):  # which links lead to, because chance seldom finds a model's name
            explain(http, (SAMPLES / "star.jpg").read_bytes(), masks=64, seed=seed)
    yield running
    stop_service(running)


def report(examined: Service, folder: Path, phases: str, examples: int, *more: str) -> str:
    """Return what schemathesis prints, which finds nothing wrong."""
    command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(CONFIGURATION), "run"]
    options = ["--checks", "all", "--phases", phases, "--max-examples", str(examples), "--seed", SEED, *more]
    done = subprocess.run(
        [*command, f"{examined.url}/openapi.json", *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,  # because it keeps a cache where it runs
    )
    sys.stdout.write(done.stdout)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    return done.stdout


def count(pattern: str, printed: str) -> int:
    found = re.search(pattern, printed)
    assert found, printed
    return int(found[1])


@pytest.mark.timeout(300 + 100 * EXAMPLES)
def test_the_service_keeps_to_its_document(examined: Service, tmp_path: Path) -> None:
    printed = report(examined, tmp_path, "examples,coverage,fuzzing", EXAMPLES)
    assert count(r"(\d+) generated", printed) > 500


@pytest.mark.timeout(300 + 100 * EXAMPLES)
def test_the_links_of_the_document_lead_on(examined: Service, tmp_path: Path) -> None:
    # Invalid data is the other test's: for schemathesis, a form with `image` alone violates that it needs `image_url`,
    # one of the three of which exactly one is required. And it infers links beside those of the document: to the report
    # of any batch, where 404 is right for one that came without annotations.
    options = ["--exclude-checks", "negative_data_rejection,ensure_resource_availability"]
    printed = report(examined, tmp_path, "stateful", 30 * EXAMPLES, *options)
    assert count(r"API Links: +(\d+) covered", printed) > 5


@pytest.mark.parametrize(
    "targets", [[{"label": True}], [{"label": 3.0}], [{"box": ["1", 2, 3, 4]}], [{"box": [True, 2, 3, 4]}]]
)
def test_targets_have_the_types_that_the_document_says(http: httpx2.Client, targets: list[Any]) -> None:
    body = {"image": {"id": "none"}, "model": "shapes-detector", "targets": targets}
    answer = http.post("/v1/explanations", json=body)
    assert answer.status_code == 422
    assert any(error["field"].startswith("/targets/0/") for error in answer.json()["errors"])


def test_all_methods_of_an_address_are_named_where_another_is_refused(http: httpx2.Client) -> None:
    for path, allowed in {"/v1/explanations": "GET, POST", "/v1/images/x": "DELETE, GET", "/livez": "GET"}.items():
        answer = http.patch(path)
        assert answer.status_code == 405
        assert answer.headers["Allow"] == allowed


def test_a_map_of_one_pixel_correlates_with_nothing(http: httpx2.Client) -> None:
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
    body = {"image": {"base64": pixel}, "model": "shapes", "masks": 256}
    explanation = http.post("/v1/explanations", json=body, headers={"Prefer": "wait=60"}).json()
    measured = http.post(f"{explanation['links']['self']}/metrics", json={"metrics": ["randomised-model"]})
    assert measured.json()["randomised-model"]["value"] is None
