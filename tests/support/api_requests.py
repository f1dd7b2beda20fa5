"""How a client asks for an explanation."""

from typing import Any

import httpx2

WAIT = {"Prefer": "wait=60"}


def explain(http: httpx2.Client, image: bytes, headers: dict[str, str] = WAIT, **fields: Any) -> httpx2.Response:
    data = {"model": "shapes", **{name: str(value) for name, value in fields.items()}}
    return http.post("/v1/explanations", files={"image": ("photo", image)}, data=data, headers=headers)
