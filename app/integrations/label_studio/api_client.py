"""Client of Label Studio's API, at the address that the operator has set; the operator's token is sent nowhere else.

There are two kinds of tokens. A legacy token is sent as it is. A personal access token is a JWT that can only be
exchanged for an access token of a few minutes (`POST /api/token/refresh/`), which is sent instead.
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
_ACCESS_SECONDS = 60.0  # an access token is used; they are valid for five minutes


class LabelStudioHttpError(httpx2.HTTPError):
    """Label Studio has sent an unexpected response.

    Attributes:
        status: of the response.
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

    async def fetch_image(self, path: str) -> bytes | str | None:
        """Return the bytes at a path, or the location of a redirect; None where there is no image.

        Raises:
            httpx2.HTTPError: for a failed request or another status.
            RiseError: `image-too-large`.
        """
        async with self._request("GET", path) as response:
            if response.is_redirect:
                return str(response.url.join(response.headers.get("location", "")))
            if response.status_code == 200:
                return await read_limited(response, self._max_bytes)
            if response.status_code in {401, 403, 404, 500}:  # 500: because 1.23 checks permissions of a missing upload
                return None
            raise LabelStudioHttpError(response.status_code, "no image")

    async def has_prediction(self, task: int, version: str) -> bool:
        """Return whether a task has a prediction of a model version already."""
        found = await self._json("GET", f"/api/predictions?task={task}")
        return any(prediction.get("model_version") == version for prediction in found)

    async def add_prediction(self, task: int, prediction: JsonObject) -> None:
        """Add a prediction to a task."""
        await self._json("POST", "/api/predictions/", {"task": task, **prediction})

    async def patch_task_data(self, task: int, field: str, address: str) -> None:
        """Set one field of a task's data to an address."""
        found = await self._json("GET", f"/api/tasks/{task}?resolve_uri=false")
        await self._json("PATCH", f"/api/tasks/{task}/", {"data": {**found["data"], field: address}})

    async def _json(self, method: str, path: str, body: JsonObject | None = None) -> Any:
        async with self._request(method, path, body) as response:
            await response.aread()
            if not response.is_success:
                raise LabelStudioHttpError(response.status_code, response.text[:200])
            return _parsed(response)

    @asynccontextmanager
    async def _request(self, method: str, path: str, body: JsonObject | None = None) -> AsyncIterator[httpx2.Response]:
        """Send a request with the token, and yield the response, which is not read yet."""
        async with total_timeout(self._seconds):
            headers = {"Authorization": await self._authorization()}
            async with self._client.stream(method, self._at(path), json=body, headers=headers) as response:
                yield response

    def _at(self, path: str) -> httpx2.URL:
        return self.url.copy_with(raw_path=(self.url.path.rstrip("/") + path).encode())

    async def _authorization(self) -> str:
        if self._token.count(".") != 2:
            return f"Token {self._token}"
        async with self._refreshing:
            if time.monotonic() >= self._access_until:
                response = await self._client.post(self._at("/api/token/refresh/"), json={"refresh": self._token})
                if not response.is_success:
                    raise LabelStudioHttpError(
                        response.status_code, "it does not take the token of RISE_LABEL_STUDIO_API_KEY"
                    )
                self._access = str(_parsed(response)["access"])
                self._access_until = time.monotonic() + _ACCESS_SECONDS
        return f"Bearer {self._access}"


def _parsed(response: httpx2.Response) -> Any:
    try:
        return response.json()
    except ValueError as cause:
        raise LabelStudioHttpError(response.status_code, "this is not JSON: is RISE_LABEL_STUDIO_URL right?") from cause
