"""How a client asks for an explanation, and gets a key."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2

from tests.conftest import Service

WAIT = {"Prefer": "wait=60"}


def explain(http: httpx2.Client, image: bytes, headers: dict[str, str] = WAIT, **fields: Any) -> httpx2.Response:
    data = {"model": "shapes", **{name: str(value) for name, value in fields.items()}}
    return http.post("/v1/explanations", files={"image": ("photo", image)}, data=data, headers=headers)


def make_key(service: Service) -> str:
    """Return the secret of a new key."""
    command = [str(Path(sys.executable).with_name("rise-serve")), "keys", "add", "somebody"]
    environment = {**os.environ, "RISE_DATA": str(service.data)}
    made = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    return made.stdout.strip()
