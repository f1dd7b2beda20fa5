"""The client for programs with an event loop; the other one is made of it."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import IO, Any, Self

import anyio
import httpx2
import numpy as np
from numpy.typing import NDArray

from app.client import batches, calls
from app.client.answers import (
    ENDS,
    Arrays,
    arrays_in,
    check_success,
    progress_in,
    region_in,
    values_in,
    view_in,
)
from app.client.batches import AsyncBatch
from app.client.calls import HELD_SECONDS, Call, Picture, Target
from app.client.pace import Pace
from app.client.problems import is_refusal, pause_before_retry, refuse
from app.contract.schemas import MethodCard, ModelCard, Prediction, Progress
from app.views import Explanation as View

Map = NDArray[np.float32]
Mask = NDArray[np.bool_]


class AsyncClient:
    """Talks to a service.

    Args:
        url: where it is, such as `http://127.0.0.1:8000`.
        key: an API key, where it asks for one.
        patience_seconds: how long a request is tried again while the service is busy or away.
    """

    def __init__(self, url: str, key: str | None = None, *, patience_seconds: float = 60.0) -> None:
        self._http = httpx2.AsyncClient(base_url=url, headers=calls.headers(key), timeout=30.0)
        self._patience_seconds = patience_seconds

    async def explain(
        self,
        image: Picture,
        *,
        model: str,
        targets: str | Target | Sequence[Target] | None = None,
        **fields: Any,
    ) -> "AsyncExplanation":
        """Ask for an explanation; returns at once.

        Args:
            image: a path, encoded bytes, a Pillow image, or pixels `[H, W, 3]`, 0..255.
            model: a model's id.
            targets: a class by index or name, a box, several of them, or `top:5`; None takes what the model sees.
            fields: any other field of the request, such as `method="mc-rise"`, `masks=8000`, `fill="blur"`.

        Raises:
            ServiceError: if the service refuses it.
        """
        call = calls.creation(image, targets, {"model": model, **fields})
        return AsyncExplanation(self, view_in(await self.send(call)))

    async def explanation(self, explanation_id: str) -> "AsyncExplanation":
        """Return an explanation that exists."""
        return AsyncExplanation(self, view_in(await self.send(calls.reading(explanation_id))))

    async def batch(self, paths: Iterable[str | Path], *, model: str, **fields: Any) -> AsyncBatch:
        """Ask one question about many image files; returns as soon as they are sent.

        Args:
            paths: of the files.
            model: a model's id.
            fields: any other field of the request, such as `targets="top:3"`, `masks=2000`.

        Raises:
            ServiceError: if the service refuses it as a whole.
        """
        return await batches.create(self, paths, {"model": model, **fields})

    async def predict(self, image: Picture, *, model: str, limit: int = 10) -> list[Prediction]:
        """Return what a model sees in an image, the strongest first."""
        return values_in(await self.send(calls.prediction(image, model, limit)), Prediction)

    async def models(self) -> list[ModelCard]:
        """Return every model."""
        return values_in(await self.send(Call("GET", "/v1/models")), ModelCard)

    async def methods(self) -> list[MethodCard]:
        """Return every method with the schema of its parameters."""
        return values_in(await self.send(Call("GET", "/v1/methods")), MethodCard)

    async def send(self, call: Call) -> httpx2.Response:
        """Send a request, again while the service is busy or away.

        Raises:
            ServiceError: what the service refuses.
            httpx2.TransportError: if it does not answer for longer than the client's patience.
        """
        return await self._persist(call, self._read)

    async def download(self, call: Call, file: IO[bytes]) -> None:
        """Write the answer to a request into a file, as it comes; asks again as `send` does, until it begins to come.

        Raises:
            ServiceError: what the service refuses.
            httpx2.TransportError: if it does not answer for longer than the client's patience, or not to the end.
        """
        async with aclosing(await self._persist(call, self._open)) as response:
            async for part in response.aiter_bytes():
                await anyio.to_thread.run_sync(file.write, part)

    async def events(self, explanation_id: str, after: str | None) -> AsyncGenerator[httpx2.ServerSentEvent]:
        """Yield the events of an explanation while one connection lasts; asks for it again as `send` does.

        Raises:
            ServiceError: what the service refuses.
            httpx2.TransportError: if it does not answer for longer than the client's patience.
        """
        call = calls.following(explanation_id, after)
        async with aclosing(await self._persist(call, self._open)) as response:
            with suppress(httpx2.TransportError):  # because the next connection goes on where this one was lost
                async for event in httpx2.EventSource(response):
                    yield event

    async def _persist(self, call: Call, attempt: Callable[[Call], Awaitable[httpx2.Response]]) -> httpx2.Response:
        """Return what comes of a request, tried again while the service is busy or away."""
        deadline, retries = time.monotonic() + self._patience_seconds, 0
        while True:
            outcome = await _outcome(attempt(call))
            pause = pause_before_retry(outcome, retries, repeatable=call.repeatable)
            if pause is None or time.monotonic() + pause > deadline:
                break
            await anyio.sleep(pause)
            retries += 1
        if isinstance(outcome, httpx2.TransportError):
            raise outcome
        if not (retries and call.is_done_by(outcome)):
            refuse(outcome)
        return outcome

    async def _read(self, call: Call) -> httpx2.Response:
        return await self._http.request(call.method, call.path, **call.options)

    async def _open(self, call: Call) -> httpx2.Response:
        """Return an answer whose content is still to come; a refusal is whole."""
        request = self._http.build_request(call.method, call.path, **call.options)
        response = await self._http.send(request, stream=True)
        if is_refusal(response):
            await response.aread()
        return response

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def _outcome(attempt: Awaitable[httpx2.Response]) -> httpx2.Response | httpx2.TransportError:
    try:
        return await attempt
    except httpx2.TransportError as error:
        return error


class AsyncExplanation:
    """An explanation on the service.

    Attributes:
        view: what was last read of it.
    """

    def __init__(self, client: AsyncClient, view: View) -> None:
        self._client = client
        self._archives: dict[int | str, Arrays] = {}
        self.view = view

    async def map(self, target: int | str = 0) -> Map:
        """Return a map, `[H, W]`, or `[K, H, W]` for several fills: change of the score, signed.

        Args:
            target: index of a target, or the name of any class.
        """
        return (await self._archive(target))["map"]

    async def standard_error(self, target: int | str = 0) -> Map:
        """Return the standard error of a map, of its shape."""
        return (await self._archive(target))["standard_error"]

    async def _archive(self, target: int | str) -> Arrays:
        if target in self._archives:
            return self._archives[target]
        found = arrays_in(await self.archive(target))
        if self.view.status.ended:
            self._archives[target] = found
        return found

    async def archive(self, target: int | str = 0) -> bytes:
        """Return a map with its error bars and all that belongs to it, as the bytes of a `.npz` file."""
        return (await self._client.send(calls.map_archive(self.view.id, target))).content

    async def overlay(self, index: int = 0, **style: Any) -> bytes:
        """Return the image with the map over it, a PNG; `style` is `alpha`, `cmap`, `signed`, `max_side`."""
        return (await self._client.send(calls.overlay(self.view.id, index, style))).content

    async def region(self, index: int = 0, *, level: float = 0.5) -> Mask:
        """Return the smallest region that holds a share of the positive saliency, `[H, W]`, true inside."""
        return region_in(await self._client.send(calls.region(self.view.id, index, level)))

    async def refresh(self) -> Self:
        """Read it again."""
        self.view = view_in(await self._client.send(calls.reading(self.view.id)))
        return self

    async def wait(self, seconds: float = float("inf")) -> Self:
        """Wait until it has succeeded.

        Raises:
            ServiceError: if it failed or was cancelled.
            TimeoutError: if it has not ended after so many seconds.
        """
        deadline, pace = time.monotonic() + seconds, Pace()
        while not self.view.status.ended:
            await pace.begin_round(deadline)
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"explanation {self.view.id} has not ended after {seconds:g} seconds")
            call = calls.reading(self.view.id, held=min(left, HELD_SECONDS))
            self.view = view_in(await self._client.send(call))
        check_success(self.view)
        return self

    async def progress(self) -> AsyncGenerator[Progress]:
        """Yield its progress as it comes, until it has ended; goes on where a connection was lost."""
        last, pace = None, Pace()
        while not self.view.status.ended:
            await pace.begin_round()
            with suppress(httpx2.ReadTimeout):  # because a proxy in between may hold back a stream without news
                async with aclosing(self._client.events(self.view.id, last)) as events:
                    async for event in events:
                        last = event.id or last
                        told = progress_in(event)
                        if told is not None:
                            yield told
                        if event.event in ENDS:
                            break
            await self.refresh()

    async def cancel(self) -> Self:
        """Stop it."""
        self.view = view_in(await self._client.send(Call("POST", f"{calls.here(self.view.id)}/cancel")))
        return self

    async def delete(self) -> None:
        """Remove it with everything that belongs to it."""
        await self._client.send(Call("DELETE", calls.here(self.view.id)))
