"""Commands of `python -m workers`, which compute: this side never imports torch."""

import json
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer

from app.cli.single_machine.managed_process import PYTHON, StartupError
from app.contract.settings import Settings


def require_models_file(path: Path) -> None:
    """Check that there is a models file, before seconds are spent on importing torch.

    Raises:
        StartupError: where there is none.
    """
    if not path.exists():
        raise StartupError(f"there is no models file {path}; RISE_MODELS names the one to read")


def worker_command(*arguments: str) -> list[str]:
    """Return a command of `python -m workers`.

    Raises:
        StartupError: where what workers need is not installed, or there is no models file and the command reads it.
    """
    if find_spec("torch") is None:
        raise StartupError("workers need torch, which is not installed: pip install 'rise-serve[workers]'")
    if arguments[0] != "methods":
        require_models_file(Settings().models)
    return [*PYTHON, "workers", *arguments]


def run_worker_cli(*arguments: str) -> Any:
    """Return what a command of `python -m workers` prints as JSON; end with its code where it fails."""
    found = subprocess.run(worker_command(*arguments), stdout=subprocess.PIPE, check=False)
    if found.returncode:
        raise typer.Exit(found.returncode)
    return json.loads(found.stdout)
