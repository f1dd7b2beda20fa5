"""The client alone: what it imports, and that it needs nothing of the service."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ALONE = """
import importlib.abc, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"app", "workers", "fastapi", "starlette", "uvicorn", "redis", "rq", "torch"}:
            raise ImportError(f"{name} is not installed here")

sys.meta_path.insert(0, Refuse())
from rise_client import AsyncClient, Client
with Client("http://127.0.0.1:1", retry_timeout_seconds=0) as client:
    try:
        client.models()
    except Exception as error:
        print(type(error).__name__)
"""


def test_it_works_where_nothing_of_the_service_is_installed() -> None:
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("ConnectError\n", "")


def test_a_program_with_packages_called_app_and_workers_keeps_its_own(tmp_path: Path) -> None:
    for name in ("app", "workers"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("own = True")
    program = "import app, workers, rise_client; print(app.own, workers.own)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("True True\n", "")
