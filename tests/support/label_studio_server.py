"""Label Studio as PyPI has it: a server of its own on loopback, with SQLite, and a client that knows its API."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests.support.environments import environment, free_port

TOKEN = "0123456789abcdef0123456789abcdef01234567"
_READY_SECONDS = 400
_LONGEST_SECONDS = 120


@dataclass(frozen=True)
class LabelStudio:
    """A running server.

    Attributes:
        url: its address.
        http: a client with the token of its user.
    """

    url: str
    http: httpx2.Client

    def ask(self, verb: str, path: str, **content: Any) -> Any:
        answer = self.http.request(verb, path, **content)
        assert answer.is_success, f"{verb} {path}: {answer.status_code} {answer.text[:1000]}"
        return answer.json()

    def project(self, config: str) -> int:
        made = self.ask("POST", "/api/projects", json={"title": "shapes", "label_config": config})
        return int(made["id"])

    def upload(self, project: int, picture: Path) -> str:
        """Upload a picture without making a task of it; return its address as tasks have it."""
        files = {"file": (picture.name, picture.read_bytes())}
        found = self.ask("POST", f"/api/projects/{project}/import?commit_to_project=false", files=files)
        (upload,) = found["file_upload_ids"]
        return f"/data/{self.ask('GET', f'/api/import/file-upload/{upload}')['file']}"

    def task(self, project: int, **data: str) -> int:
        found = self.ask("POST", f"/api/projects/{project}/import?return_task_ids=true", json=[data])
        (task,) = found["task_ids"]
        return int(task)

    def connect(self, project: int, url: str, **more: Any) -> int:
        backend = {"project": project, "url": url, "title": "rise", "is_interactive": True, **more}
        made = self.ask("POST", "/api/ml", json=backend)
        assert made["readable_state"] == "Connected", made
        return int(made["id"])

    def retrieve(self, project: int) -> None:
        """Ask for the predictions of all tasks, as the Data Manager's menu does."""
        path = f"/api/dm/actions?id=retrieve_tasks_predictions&project={project}"
        chosen = {"selectedItems": {"all": True, "excluded": []}}
        self.ask("POST", path, json=chosen)

    def predictions(self, task: int) -> list[Any]:
        found: list[Any] = self.ask("GET", f"/api/predictions?task={task}")
        return found

    def wait_for(self, what: Any) -> Any:
        """Return what a function finds, as soon as it finds something: the server tells nobody."""
        deadline = time.monotonic() + _LONGEST_SECONDS
        while not (found := what()):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        return found


@contextmanager
def label_studio(folder: Path) -> Iterator[LabelStudio]:
    """Run Label Studio until the block ends; skip the test where it cannot be installed."""
    port = free_port()
    command = [environment("label-studio") / "bin" / "label-studio", "start", "--no-browser"]
    command += ["--internal-host", "127.0.0.1", "--port", str(port), "--data-dir", folder / "data"]
    command += ["--username", "a@example.com", "--password", "a-password", "--user-token", TOKEN]
    surroundings = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "ML_BLOCK_LOCAL_IP": "false",
        "SSRF_PROTECTION_ENABLED": "false",
        "COLLECT_ANALYTICS": "false",
        "LATEST_VERSION_CHECK": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
    }
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            [*map(str, command), "--enable-legacy-api-token"], env=surroundings, cwd=folder, stdout=log, stderr=log
        )
        try:
            url = f"http://127.0.0.1:{port}"
            with httpx2.Client(base_url=url, headers={"Authorization": f"Token {TOKEN}"}, timeout=120) as http:
                _wait_until_ready(process, http, folder / "server.log")
                yield LabelStudio(url, http)
        finally:
            process.terminate()
            process.wait(30)


def _wait_until_ready(process: subprocess.Popen[bytes], http: httpx2.Client, log: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            if http.get("/api/projects").status_code == 200:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.5)
    raise AssertionError(f"not ready: {log.read_text()[-3000:]}")
