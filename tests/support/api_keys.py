"""Keys for services under test, made by the command `rise-serve keys` in this process: another one takes seconds."""

import os
from unittest.mock import patch

import httpx2
from typer.testing import CliRunner, Result

from app.cli.keys import keys_cli
from tests.conftest import Service


def keys(service: Service, *arguments: str) -> Result:
    """Return what `rise-serve keys` says beside a running service."""
    kept = {name: value for name, value in os.environ.items() if name not in {"REDIS_URL", "RISE_REDIS_URL"}}
    with patch.dict(os.environ, {**kept, "RISE_DATA": str(service.data)}, clear=True):
        return CliRunner().invoke(keys_cli, list(arguments))


def new_key(service: Service, *arguments: str) -> str:
    """Return a new key's secret."""
    found = keys(service, "add", *arguments)
    assert found.exit_code == 0, found.stderr
    return found.stdout.strip()


def client(service: Service, *arguments: str) -> httpx2.Client:
    """Return a client with a new key."""
    headers = {"Authorization": f"Bearer {new_key(service, *arguments)}"}
    return httpx2.Client(base_url=service.url, headers=headers, timeout=120)
