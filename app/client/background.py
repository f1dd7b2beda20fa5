"""An event loop beside the program: lives for as long as anybody holds it, and never keeps the program from ending."""

import asyncio
import threading
import weakref
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class Background:
    """Runs coroutines in a thread of its own.

    Args:
        close: run last, when this is closed or nobody holds it any more.
    """

    def __init__(self, close: Callable[[], Awaitable[None]]) -> None:
        self._loop = asyncio.new_event_loop()
        # A daemon, because Python waits for all others before a program may end.
        self._thread = threading.Thread(target=_run, args=(self._loop,), name="rise-serve client", daemon=True)
        self._thread.start()
        self._end = weakref.finalize(self, _end, self._loop, close)

    def call(
        self,
        function: Callable[Parameters, Awaitable[Result]],
        *arguments: Parameters.args,
        **options: Parameters.kwargs,
    ) -> Result:
        """Run a function there and return its result.

        Raises:
            RuntimeError: if this is closed.
        """
        if not self._end.alive:
            raise RuntimeError("the client is closed")

        async def run() -> Result:
            return await function(*arguments, **options)

        future = asyncio.run_coroutine_threadsafe(run(), self._loop)
        try:
            return future.result()
        finally:
            future.cancel()  # where the caller is interrupted

    def close(self) -> None:
        """Close what is open and end the thread."""
        self._end()
        self._thread.join()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


def _end(loop: asyncio.AbstractEventLoop, close: Callable[[], Awaitable[None]]) -> None:
    async def end() -> None:
        try:
            await close()
        finally:
            loop.stop()

    asyncio.run_coroutine_threadsafe(end(), loop)
