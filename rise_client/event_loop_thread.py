"""An asyncio event loop in a thread of its own, which ends when nothing refers to it any more, or with the program."""

import asyncio
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from concurrent.futures import CancelledError
from functools import partial
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_CLOSED = "the client is closed"


class EventLoopThread:
    """Runs coroutines in a thread of its own.

    Args:
        close: run last, when this is closed or nothing refers to it any more.
    """

    def __init__(self, close: Callable[[], Awaitable[None]]) -> None:
        self._process = os.getpid()
        self._handing_over = threading.Lock()  # so that nothing is scheduled after the end of the loop
        self._loop = asyncio.new_event_loop()
        # A daemon, because Python waits for all others before a program may end.
        self._thread = threading.Thread(target=_run, args=(self._loop,), name="rise-client", daemon=True)
        self._thread.start()
        self._end = weakref.finalize(self, _end, self._loop, self._process, close)

    @property
    def _is_forked(self) -> bool:
        """Whether this is a copy in a forked child, where the thread is not."""
        return os.getpid() != self._process

    def call(
        self,
        function: Callable[Parameters, Awaitable[Result]],
        *arguments: Parameters.args,
        **options: Parameters.kwargs,
    ) -> Result:
        """Run a function in the loop and return its result.

        Raises:
            RuntimeError: if this is closed, before or meanwhile, or belongs to another process.
        """
        if self._is_forked:
            raise RuntimeError("the client belongs to the process that forked this one: make a client in each process")

        async def run() -> Result:
            return await function(*arguments, **options)

        with self._handing_over:
            if not self._end.alive:
                raise RuntimeError(_CLOSED)
            future = asyncio.run_coroutine_threadsafe(run(), self._loop)
        try:
            return future.result()
        except CancelledError as error:
            raise RuntimeError(_CLOSED) from error
        finally:
            future.cancel()  # where the caller is interrupted

    def iterate(self, values: AsyncGenerator[Result]) -> Iterator[Result]:
        """Yield what a generator yields in the loop; it may not yield None."""
        try:
            while (value := self.call(partial(anext, values, None))) is not None:
                yield value
        finally:
            if self._end.alive and not self._is_forked:
                self.call(values.aclose)

    def close(self) -> None:
        """Close what is open and end the thread; calls that wait for it raise. Does nothing in a forked child."""
        if self._is_forked:
            return
        with self._handing_over:
            self._end()
        self._thread.join()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


def _end(loop: asyncio.AbstractEventLoop, process: int, close: Callable[[], Awaitable[None]]) -> None:
    if os.getpid() == process:  # because a forked child has no such thread, and shares what wakes its parent's loop
        asyncio.run_coroutine_threadsafe(_finish(loop, close), loop)


async def _finish(loop: asyncio.AbstractEventLoop, close: Callable[[], Awaitable[None]]) -> None:
    """Cancel what still runs, then close and stop."""
    try:
        running = asyncio.all_tasks() - {asyncio.current_task()}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await close()
    finally:
        loop.stop()
