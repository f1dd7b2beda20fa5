"""Questions that are answered together: while some are on their way, others gather and become the next ones.

A message to Redis, or a turn of a thread, costs more than what is said in it. A process that is asked a thousand things
a second so sends a fraction of as many messages, and one that is asked a single thing answers it as soon as ever.
"""

import asyncio
from asyncio import Future, Task, TimerHandle
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from starlette.concurrency import run_in_threadpool

Question = TypeVar("Question")
Answer = TypeVar("Answer")

_PATIENCE_SECONDS = 0.02  # because those that are on their way may take long


def threaded(ask: Callable[[Sequence[Question]], Sequence[Answer]]) -> Callable[..., Awaitable[Sequence[Answer]]]:
    """Return a way of asking that waits in a thread."""

    async def answer(questions: Sequence[Question]) -> Sequence[Answer]:
        return await run_in_threadpool(ask, questions)

    return answer


class RequestCoalescer(Generic[Question, Answer]):
    """Answers questions that were asked at the same time by one call.

    Args:
        ask: returns the answer to each of some questions; an exception in the place of one, or raised instead of all,
            is raised to whoever asked.
    """

    def __init__(self, ask: Callable[[Sequence[Question]], Awaitable[Sequence[Answer | Exception]]]) -> None:
        self._ask = ask
        self._gathered: list[tuple[Question, Future[Answer]]] = []
        self._leaving: TimerHandle | None = None
        self._under_way: set[Task[None]] = set()

    async def answer(self, question: Question) -> Answer:
        """Return the answer to a question; it is asked with those of others, a moment later at most."""
        loop = asyncio.get_running_loop()
        answer: Future[Answer] = loop.create_future()
        self._gathered.append((question, answer))
        if self._leaving is None:
            self._leaving = loop.call_later(_PATIENCE_SECONDS if self._under_way else 0, self._leave)
        return await answer

    def _leave(self) -> None:
        if self._leaving is not None:
            self._leaving.cancel()
        gathered, self._gathered, self._leaving = self._gathered, [], None
        task = asyncio.get_running_loop().create_task(self._answer(gathered))
        self._under_way.add(task)
        task.add_done_callback(self._come_back)

    def _come_back(self, task: Task[None]) -> None:
        self._under_way.discard(task)
        if self._gathered:
            self._leave()

    async def _answer(self, gathered: list[tuple[Question, Future[Answer]]]) -> None:
        try:
            found = await self._ask([question for question, _ in gathered])
        except Exception as error:  # whatever it is, it is the askers' answer
            found = [error] * len(gathered)
        for (_, answer), said in zip(gathered, found, strict=True):
            if answer.done():  # because whoever asked has given up
                continue
            if isinstance(said, Exception):
                answer.set_exception(said)
            else:
                answer.set_result(said)
