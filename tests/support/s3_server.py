"""An S3 server of somebody else: moto's, over real HTTP, in an environment of its own."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from tests.support.environments import environment, free_port

BUCKET = "maps"
_READY_SECONDS = 60


def settings_for(port: int) -> dict[str, str]:
    """Return the environment variables of a service that keeps its blobs there."""
    return {
        "RISE_STORAGE": f"s3://{BUCKET}/rise",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "eu-central-1",
    }


@contextmanager
def s3_server(log: Path) -> Iterator[int]:
    """Run a server with an empty bucket; give its port."""
    port = free_port()
    command = [str(environment("moto") / "bin" / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        _make_bucket(process, f"http://127.0.0.1:{port}/{BUCKET}")
        yield port
    finally:
        process.terminate()
        process.wait(20)


def _make_bucket(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx2.put(url, timeout=10).raise_for_status()
        except httpx2.TransportError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the S3 server does not come up")


def open_uploads(port: int) -> int:
    """Return how many multi-part uploads have been begun and not ended."""
    listed = httpx2.get(f"http://127.0.0.1:{port}/{BUCKET}?uploads", timeout=10).raise_for_status().text
    return listed.count("<Upload>")
