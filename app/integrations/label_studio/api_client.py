"""Label Studio as we ask it: at the one address that the operator has set, which alone ever sees the operator's token.

There are two kinds of tokens. A legacy token is sent as it is. A personal access token is a JWT that is good for one
thing only: it is exchanged for an access token of a few minutes (`POST /api/token/refresh/`), which is sent instead.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from app.contract.schemas import JsonObject
from app.egress.allowlist import HostAllowlist, HostRule, name_of
from app.egress.client import ssrf_safe_client, total_timeout
from app.images.fetcher import read_limited

_PORTS = {"https": 443, "http": 80}
_ACCESS_SECONDS = 60.0  # an access token is used; they live for five minutes


class LabelStudioHttpError(httpx2.HTTPError):
    """Label Studio has answered, and not with what was asked for.

    Attributes:
        status: of its answer.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"Label Studio answers {status}: {detail}")
        self.status = status


class LabelStudioClient:
    """Reads images, and writes predictions and overlays.

    Args:
        url: where it is.
        token: of a user.
        max_bytes: largest image.
        seconds: longest time for one exchange.
    """

    def __init__(self, url: httpx2.URL, token: str, *, max_bytes: int, seconds: float) -> None:
        self.url = url
        self._token = token
        self._max_bytes = max_bytes
        self._seconds = seconds
        port = None if url.port == _PORTS[url.scheme] else url.port
        self._client = ssrf_safe_client(HostAllowlist(trusted=(HostRule(name_of(url), port),)), seconds=seconds)
        self._access = ""
        self._access_until = 0.0
        self._refreshing = asyncio.Lock()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def picture(self, path: str) -> bytes | str | None:
        """Return the bytes at a path, or the address that Label Studio sends to; None where it has nothing to show.

        Raises:
            httpx2.HTTPError: if nothing comes.
            RiseError: `image-too-large`.
        """
        async with self._asked("GET", path) as answer:
            if answer.is_redirect:
                return str(answer.url.join(answer.headers.get("location", "")))
            if answer.status_code == 200:
                return await read_limited(answer, self._max_bytes)
            if answer.status_code in {401, 403, 404, 500}:  # 500: because 1.23 looks for rights of a missing upload
                return None
            raise LabelStudioHttpError(answer.status_code, "no image")

    async def has_prediction(self, task: int, version: str) -> bool:
        """Return whether a task has a prediction of a model's version already."""
        found = await self._json("GET", f"/api/predictions?task={task}")
        return any(prediction.get("model_version") == version for prediction in found)

    async def add_prediction(self, task: int, prediction: JsonObject) -> None:
        """Give a task a prediction."""
        await self._json("POST", "/api/predictions/", {"task": task, **prediction})

    async def show(self, task: int, field: str, address: str) -> None:
        """Put an address into a field of a task's data; nothing else in them changes."""
        found = await self._json("GET", f"/api/tasks/{task}?resolve_uri=false")
        await self._json("PATCH", f"/api/tasks/{task}/", {"data": {**found["data"], field: address}})

    async def _json(self, method: str, path: str, body: JsonObject | None = None) -> Any:
        async with self._asked(method, path, body) as answer:
            await answer.aread()
            if not answer.is_success:
                raise LabelStudioHttpError(answer.status_code, answer.text[:200])
            return _parsed(answer)

    @asynccontextmanager
    async def _asked(self, method: str, path: str, body: JsonObject | None = None) -> AsyncIterator[httpx2.Response]:
        """Send a request with the token, and give the answer while it is read."""
        async with total_timeout(self._seconds):
            headers = {"Authorization": await self._authorization()}
            async with self._client.stream(method, self._at(path), json=body, headers=headers) as answer:
                yield answer

    def _at(self, path: str) -> httpx2.URL:
        return self.url.copy_with(raw_path=(self.url.path.rstrip("/") + path).encode())

    async def _authorization(self) -> str:
        if self._token.count(".") != 2:
            return f"Token {self._token}"
        async with self._refreshing:
            if time.monotonic() >= self._access_until:
                answer = await self._client.post(self._at("/api/token/refresh/"), json={"refresh": self._token})
                if not answer.is_success:
                    raise LabelStudioHttpError(
                        answer.status_code, "it does not take the token of RISE_LABEL_STUDIO_API_KEY"
                    )
                self._access = str(_parsed(answer)["access"])
                self._access_until = time.monotonic() + _ACCESS_SECONDS
        return f"Bearer {self._access}"


def _parsed(answer: httpx2.Response) -> Any:
    try:
        return answer.json()
    except ValueError as cause:
        raise LabelStudioHttpError(answer.status_code, "this is not JSON: is RISE_LABEL_STUDIO_URL right?") from cause
