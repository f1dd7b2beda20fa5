import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from redis import Redis

from app.cli.main import greet
from tests.conftest import Service, start_service, stop_service

COMMAND = [str(Path(sys.executable).with_name("rise-serve")), "up"]


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text()


def test_control_c_stops_everything_and_leaves_nothing_running(tmp_path: Path) -> None:
    service = start_service(tmp_path / "data")
    children = list(service.children())
    assert len(children) == 3
    assert stop_service(service) == 0
    assert not any(alive(pid) for pid in children)


def test_when_it_is_killed_its_children_end_too(tmp_path: Path) -> None:
    service = start_service(tmp_path / "data")
    children = list(service.children())
    service.process.kill()
    service.process.wait(10)
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in children) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(alive(pid) for pid in children)


def test_a_taken_port_is_a_clear_error(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        environment = {**os.environ, "RISE_PORT": port, "RISE_DATA": str(tmp_path)}
        found = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 1
    assert f"port {port}" in found.stderr
    assert "RISE_PORT" in found.stderr
    assert "Traceback" not in found.stderr


def test_the_first_line_is_the_address_and_no_server_or_library_warns(tmp_path: Path) -> None:
    inherited = {name: value for name, value in os.environ.items() if name not in {"REDIS_URL", "RISE_LOG_LEVEL"}}
    environment = {**inherited, "RISE_PORT": "0", "RISE_DATA": str(tmp_path / "data")}
    process = subprocess.Popen(
        COMMAND, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    others = process.communicate(timeout=60)[0]
    assert first.startswith("rise-serve is ready at http://127.0.0.1:")
    assert "WARN" not in others.upper()


@pytest.mark.slow
def test_the_page_is_opened_in_a_browser_when_asked_for(tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    environment = {**os.environ, "RISE_PORT": "0", "RISE_DATA": str(tmp_path / "data"), "BROWSER": f"{browser} %s"}
    process = subprocess.Popen([*COMMAND, "--open"], env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    first = process.stdout.readline()
    deadline = time.monotonic() + 20
    while not (tmp_path / "opened").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert (tmp_path / "opened").read_text().strip() in first


def test_a_data_folder_in_use_is_a_clear_error(service: Service) -> None:
    environment = {**os.environ, "RISE_PORT": "0", "RISE_DATA": str(service.data)}
    found = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 1
    assert "another rise-serve" in found.stderr


def test_it_uses_the_redis_server_that_it_is_given(tmp_path: Path, valkey: str) -> None:
    service = start_service(tmp_path / "data", REDIS_URL=valkey)
    try:
        assert len(service.children()) == 2
        with Redis.from_url(valkey) as redis:
            assert redis.zcard("rise:workers") == 1
    finally:
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(30) == 0


def test_a_greeting_without_a_redis_server_is_shorter_and_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    greet("http://127.0.0.1:8000", "redis://127.0.0.1:1/0", keys=False)
    said = capsys.readouterr().out
    assert "rise-serve is ready at http://127.0.0.1:8000" in said
    assert said.endswith("models: http://127.0.0.1:8000/v1/models\n")
