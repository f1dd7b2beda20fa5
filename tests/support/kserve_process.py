"""`rise-serve kserve` as KServe's controller starts it: a process of its own on a free port."""

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_OWN = {"REDIS_URL", "RISE_REDIS_URL", "RISE_MODELS"}  # because each service has its own
COMMAND = [str(Path(sys.executable).with_name("rise-serve")), "kserve"]
SETTINGS = {"RISE_HOST": "127.0.0.1", "RISE_KEYS": "off", "RISE_HEARTBEAT_SECONDS": "0.5", "OMP_NUM_THREADS": "1"}


@contextmanager
def explainer(folder: Path, *arguments: str, **environment: str) -> Iterator[str]:
    """Run an explainer in a folder until the block ends; yield its address as soon as its model is ready."""
    with started(folder, "--http_port", "0", *arguments, **environment) as process:
        yield _address(process, folder / "explainer.log")


@contextmanager
def started(folder: Path, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run an explainer in a folder until the block ends."""
    inherited = {name: value for name, value in os.environ.items() if name not in _OWN}
    with (folder / "explainer.log").open("w") as errors:
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            env={**inherited, **SETTINGS, "RISE_DATA": str(folder / "data"), **environment},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def _address(process: subprocess.Popen[str], log: Path) -> str:
    assert process.stdout is not None
    deadline, said = time.monotonic() + 120, ""
    while time.monotonic() < deadline and process.poll() is None and "ready at" not in said:
        if select.select([process.stdout], [], [], 0.5)[0]:
            said += os.read(process.stdout.fileno(), 65536).decode()
    found = re.search(r"ready at (\S+)", said)
    assert found, f"not ready: {said} {log.read_text()[-3000:]}"
    return found[1]
