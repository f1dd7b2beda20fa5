"""The client for programs with an event loop (asyncio)."""

import asyncio
import base64
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self
from urllib.parse import quote

import httpx2
import numpy as np
from numpy.typing import NDArray

from rise_client import batches
from rise_client.batches import AsyncBatch
from rise_client.errors import is_error, raise_for_problem
from rise_client.images import ImageInput
from rise_client.models import ENDED, AuditData, ExplanationData, MethodCard, ModelCard, Prediction, Progress
from rise_client.requests import (
    LONG_POLL_SECONDS,
    ApiRequest,
    Target,
    audit_request,
    create_request,
    events_request,
    explanation_path,
    get_request,
    map_request,
    overlay_request,
    predict_request,
    region_request,
)
from rise_client.responses import Arrays, check_success, parse, parse_arrays, parse_mask, parse_progress
from rise_client.retry import PollBackoff, retry_delay

if TYPE_CHECKING:
    from rise_client.notebook import ExplanationViewer

Map = NDArray[np.float32]
Mask = NDArray[np.bool_]

_DISPLAY_SECONDS = 10.0
_DISPLAY_SIDE = 640


class AsyncClient:
    """Talks to a service.

    Args:
        url: where it is, such as `http://127.0.0.1:8000`.
        key: an API key, where the service asks for one.
        retry_timeout_seconds: how long a request is sent again while the service is busy or away.
    """

    def __init__(self, url: str, key: str | None = None, *, retry_timeout_seconds: float = 60.0) -> None:
        self._key = key
        self._http = httpx2.AsyncClient(base_url=url, headers=_headers(key), timeout=30.0)
        self._retry_timeout_seconds = retry_timeout_seconds

    async def explain(
        self,
        image: ImageInput,
        *,
        model: str,
        targets: str | Target | Sequence[Target] | None = None,
        **fields: Any,
    ) -> "AsyncExplanation":
        """Request an explanation; returns at once.

        Args:
            image: a path, encoded bytes, an open binary file, a Pillow image, or pixels `[H, W]`, `[H, W, 3]` or
                `[H, W, 4]`, uint8 or floats 0..1.
            model: a model's id.
            targets: a class by index or name, a box, several of them, or `top:5`; None takes what the model sees.
            fields: any other field of the request, such as `method="mc-rise"`, `masks=8000`, `fill="blur"`.

        Raises:
            ServiceError: if the service refuses it.
            TypeError, ValueError: for what is no image.
        """
        request = await asyncio.to_thread(create_request, image, targets, model=model, **fields)
        return AsyncExplanation(self, parse(await self.send(request), ExplanationData))

    async def explanation(self, explanation_id: str) -> "AsyncExplanation":
        """Return an explanation that exists."""
        return AsyncExplanation(self, parse(await self.send(get_request(explanation_id)), ExplanationData))

    async def audit(self, explanation_id: str) -> AuditData:
        """Return the audit of an explanation that exists, when it has ended; see `AsyncExplanation.audit`."""
        return await (await self.explanation(explanation_id)).audit()

    async def batch(self, paths: Iterable[str | Path], *, model: str, **fields: Any) -> AsyncBatch:
        """Request explanations of many image files; returns as soon as they are sent.

        Args:
            paths: of the files.
            model: a model's id.
            fields: any other field of the request, such as `targets="top:3"`, `masks=2000`.

        Raises:
            ServiceError: if the service refuses it as a whole.
        """
        return await batches.create(self, paths, {"model": model, **fields})

    async def survey(
        self, paths: Iterable[str | Path], *, annotations: str | Path, model: str, **fields: Any
    ) -> AsyncBatch:
        """Request explanations of many annotated image files; `report()` then tells of shortcuts.

        The same files and fields are the same batch for a day: a survey that was interrupted goes on.

        Args:
            paths: of the files.
            annotations: path of a COCO file; its file names are those of the images.
            model: a model's id.
            fields: any other field of the request: `explain="predicted"`, `categories={"Katze": "cat"}`, `masks=2000`.

        Raises:
            ServiceError: if the service refuses it as a whole.
        """
        return await batches.create_survey(self, paths, annotations, {"model": model, **fields})

    async def predict(self, image: ImageInput, *, model: str, limit: int = 10) -> list[Prediction]:
        """Return what a model sees in an image, the strongest first."""
        request = await asyncio.to_thread(predict_request, image, model, limit)
        return parse(await self.send(request), list[Prediction])

    async def models(self) -> list[ModelCard]:
        """Return every model."""
        return parse(await self.send(ApiRequest("GET", "/v1/models")), list[ModelCard])

    async def methods(self) -> list[MethodCard]:
        """Return every method with the schema of its parameters."""
        return parse(await self.send(ApiRequest("GET", "/v1/methods")), list[MethodCard])

    def viewer(self, explanation_id: str, *, height: int) -> "ExplanationViewer":
        """Return the viewer of an explanation; see `AsyncExplanation.viewer`."""
        from rise_client.notebook import ExplanationViewer  # noqa: PLC0415 - the extra `notebook`

        address = str(self._http.base_url.join(f"ui/embed/{quote(explanation_id, safe='')}"))
        return ExplanationViewer(address, self._key, height=height)

    async def send(self, request: ApiRequest) -> httpx2.Response:
        """Send a request, again while the service is busy or away.

        Raises:
            ServiceError: what the service refuses.
            httpx2.TransportError: if it does not answer until the retry timeout.
        """
        return await self._retry(request, self._read)

    async def download(self, request: ApiRequest, file: IO[bytes]) -> None:
        """Write a response into a file, as it comes; sends the request again as `send` does, until it begins to come.

        Raises:
            ServiceError: what the service refuses.
            httpx2.TransportError: if it does not answer until the retry timeout, or not to the end.
        """
        async with aclosing(await self._retry(request, self._open)) as response:
            async for part in response.aiter_bytes():
                await asyncio.to_thread(file.write, part)

    async def events(self, explanation_id: str, after: str | None) -> AsyncGenerator[httpx2.ServerSentEvent]:
        """Yield the events of an explanation while one connection lasts; sends the request again as `send` does.

        Raises:
            ServiceError: what the service refuses.
            httpx2.TransportError: if it does not answer until the retry timeout.
        """
        async with aclosing(await self._retry(events_request(explanation_id, after), self._open)) as response:
            with suppress(httpx2.TransportError):  # because the next connection goes on where this one was lost
                async for event in httpx2.EventSource(response):
                    yield event

    def send_once(self, request: ApiRequest) -> httpx2.Response:
        """Send a request from code that cannot await, once and by a connection of its own.

        Raises:
            ServiceError: what the service refuses.
            httpx2.TransportError: if it does not answer.
        """
        known = self._http
        with httpx2.Client(base_url=known.base_url, headers=known.headers, timeout=_DISPLAY_SECONDS) as http:
            response = http.request(request.method, request.path, **request.options)
        raise_for_problem(response)
        return response

    async def _retry(
        self, request: ApiRequest, attempt: Callable[[ApiRequest], Awaitable[httpx2.Response]]
    ) -> httpx2.Response:
        deadline, retries = time.monotonic() + self._retry_timeout_seconds, 0
        while True:
            outcome = await _outcome(attempt(request))
            delay = retry_delay(outcome, retries)
            if delay is None or time.monotonic() + delay > deadline:
                break
            await asyncio.sleep(delay)
            retries += 1
        if isinstance(outcome, httpx2.TransportError):
            raise outcome
        if not (retries and request.is_done_by(outcome)):
            raise_for_problem(outcome)
        return outcome

    async def _read(self, request: ApiRequest) -> httpx2.Response:
        return await self._http.request(request.method, request.path, **request.options)

    async def _open(self, request: ApiRequest) -> httpx2.Response:
        """Return a response whose content is still to come; an error is read to its end."""
        built = self._http.build_request(request.method, request.path, **request.options)
        response = await self._http.send(built, stream=True)
        if is_error(response):
            await response.aread()
        return response

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _headers(key: str | None) -> dict[str, str]:
    try:
        named = {"User-Agent": f"rise-client/{version('rise-client')}"}
    except PackageNotFoundError:  # because it may be used from a checkout without being installed
        named = {"User-Agent": "rise-client"}
    return named if key is None else {**named, "Authorization": f"Bearer {key}"}


async def _outcome(attempt: Awaitable[httpx2.Response]) -> httpx2.Response | httpx2.TransportError:
    try:
        return await attempt
    except httpx2.TransportError as error:
        return error


class AsyncExplanation:
    """An explanation on the service. A notebook shows its overlay, when it has ended.

    Attributes:
        data: what was last read of it.
    """

    def __init__(self, client: AsyncClient, data: ExplanationData) -> None:
        self._client = client
        self._archives: dict[int | str, Arrays] = {}
        self.data = data

    async def map(self, target: int | str = 0, **which: Any) -> Map:
        """Return a map, `[H, W]`, or `[K, H, W]` for several fills: change of the score, signed.

        Args:
            target: index of a target, or the name of any class.
            which: `fill="grey"`, `opacity=0.3` or `method="grad-cam"`, which the audit has made; nothing takes
                the explanation's own.
        """
        if which:
            response = await self._client.send(map_request(self.data.id, target, **which))
            return parse_arrays(response.content)["map"]
        return (await self._arrays(target))["map"]

    async def standard_error(self, target: int | str = 0) -> Map:
        """Return the standard error of a map, of its shape."""
        return (await self._arrays(target))["standard_error"]

    async def _arrays(self, target: int | str) -> Arrays:
        if target in self._archives:
            return self._archives[target]
        found = parse_arrays(await self.archive(target))
        if self.data.ended:
            self._archives[target] = found
        return found

    async def archive(self, target: int | str = 0) -> bytes:
        """Return a map with its error bars and all that belongs to it, as the bytes of a `.npz` file."""
        return (await self._client.send(map_request(self.data.id, target))).content

    async def overlay(self, index: int = 0, **style: Any) -> bytes:
        """Return the image with the map over it, a PNG; `style` is `alpha`, `cmap`, `signed`, `max_side`."""
        return (await self._client.send(overlay_request(self.data.id, index, **style))).content

    async def region(self, index: int = 0, *, level: float = 0.5) -> Mask:
        """Return the smallest region that holds a share of the positive saliency, `[H, W]`, true inside."""
        return parse_mask(await self._client.send(region_request(self.data.id, index, level)))

    async def audit(self, seconds: float = float("inf")) -> AuditData:
        """Ask for its audit, the same however often, and wait for it; `data.audit` has it afterwards, too.

        Raises:
            ServiceError: if the service refuses it, or it failed or was cancelled.
            TimeoutError: if it has not ended after so many seconds.
        """
        deadline, backoff = time.monotonic() + seconds, PollBackoff()
        while True:
            left = max(deadline - time.monotonic(), 0)
            request = audit_request(self.data.id, wait_seconds=min(left, LONG_POLL_SECONDS))
            found = parse(await self._client.send(request), AuditData)
            self.data = self.data.model_copy(update={"audit": found})
            if found.ended:
                break
            if time.monotonic() >= deadline:
                raise TimeoutError(f"the audit of {self.data.id} has not ended after {seconds:g} seconds")
            await backoff.wait(deadline)
        check_success(found, f"the audit of {self.data.id}")
        return found

    async def refresh(self) -> Self:
        """Read it again."""
        self.data = parse(await self._client.send(get_request(self.data.id)), ExplanationData)
        return self

    async def wait(self, seconds: float = float("inf")) -> Self:
        """Wait until it has succeeded.

        Raises:
            ServiceError: if it failed or was cancelled.
            TimeoutError: if it has not ended after so many seconds.
        """
        deadline, backoff = time.monotonic() + seconds, PollBackoff()
        while not self.data.ended:
            await backoff.wait(deadline)
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"explanation {self.data.id} has not ended after {seconds:g} seconds")
            request = get_request(self.data.id, wait_seconds=min(left, LONG_POLL_SECONDS))
            self.data = parse(await self._client.send(request), ExplanationData)
        check_success(self.data, f"explanation {self.data.id}")
        return self

    async def progress(self) -> AsyncGenerator[Progress]:
        """Yield its progress as it comes, until it has ended; goes on where a connection was lost."""
        last, backoff = None, PollBackoff()
        while not self.data.ended:
            await backoff.wait()
            with suppress(httpx2.ReadTimeout):  # because a proxy in between may hold back a stream without news
                async with aclosing(self._client.events(self.data.id, last)) as events:
                    async for event in events:
                        last = event.id or last
                        reported = parse_progress(event)
                        if reported is not None:
                            yield reported
                        if event.event in ENDED:
                            break
            await self.refresh()

    async def cancel(self) -> Self:
        """Stop it."""
        request = ApiRequest("POST", f"{explanation_path(self.data.id)}/cancel")
        self.data = parse(await self._client.send(request), ExplanationData)
        return self

    async def delete(self) -> None:
        """Remove it with everything that belongs to it."""
        await self._client.send(ApiRequest("DELETE", explanation_path(self.data.id)))

    def viewer(self, *, height: int = 640) -> "ExplanationViewer":
        """Return the viewer of the service's page, for a notebook; needs the extra `notebook`.

        Args:
            height: in pixels.

        Raises:
            ModuleNotFoundError: without the extra.
        """
        return self._client.viewer(self.data.id, height=height)

    def __repr__(self) -> str:
        names = ", ".join(str(target.label if target.name is None else target.name) for target in self.data.targets)
        asked = f"{self.data.method} of {self.data.model.id}"
        return f"<{type(self).__name__} {self.data.id}: {asked}, {self.data.status}{names and ': '}{names}>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """Return how a notebook shows it: its first map over the image, as base64, where there is one; and text."""
        bundle = {"text/plain": repr(self)}
        drawn = [target.index for target in self.data.targets if target.error is None]
        if self.data.status == "succeeded" and drawn:
            with suppress(Exception):  # because a cell that shows it must not fail where the service is away
                response = self._client.send_once(overlay_request(self.data.id, drawn[0], max_side=_DISPLAY_SIDE))
                bundle["image/png"] = base64.b64encode(response.content).decode()
        return bundle
