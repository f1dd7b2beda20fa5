"""Who asks at the same time is answered together, and nobody waits long for the answers of others."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from app.explanations.coalescer import RequestCoalescer, threaded


class Oracle:
    """Answers with what it was asked, once its door is open; remembers who asked together."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()

    async def answer(self, questions: Sequence[int]) -> list[int | Exception]:
        self.asked.append(list(questions))
        await self.open.wait()
        return [ValueError(question) if question < 0 else question for question in questions]


def with_oracle(ask: Callable[[Oracle, RequestCoalescer[int, int]], Awaitable[Any]]) -> tuple[Any, list[list[int]]]:
    async def run() -> tuple[Any, list[list[int]]]:
        oracle = Oracle()
        return await ask(oracle, RequestCoalescer(oracle.answer)), oracle.asked

    return asyncio.run(run())


def test_those_who_ask_at_the_same_time_get_their_own_answers_by_one_call() -> None:
    async def ask(_: Oracle, gathering: RequestCoalescer[int, int]) -> list[int]:
        return list(await asyncio.gather(*(gathering.answer(number) for number in range(5))))

    assert with_oracle(ask) == ([0, 1, 2, 3, 4], [[0, 1, 2, 3, 4]])


def test_what_is_asked_meanwhile_is_asked_together_as_soon_as_the_first_are_answered() -> None:
    async def ask(oracle: Oracle, gathering: RequestCoalescer[int, int]) -> list[int]:
        oracle.open.clear()
        first = asyncio.create_task(gathering.answer(0))
        while not oracle.asked:
            await asyncio.sleep(0)
        others = [asyncio.create_task(gathering.answer(number)) for number in (1, 2)]
        await asyncio.sleep(0)
        oracle.open.set()
        return [await task for task in (first, *others)]

    assert with_oracle(ask) == ([0, 1, 2], [[0], [1, 2]])


def test_nobody_waits_for_answers_that_do_not_come() -> None:
    async def ask(oracle: Oracle, gathering: RequestCoalescer[int, int]) -> tuple[bool, int]:
        oracle.open.clear()
        first = asyncio.create_task(gathering.answer(0))
        while not oracle.asked:
            await asyncio.sleep(0)
        second = asyncio.create_task(gathering.answer(1))
        while len(oracle.asked) < 2:
            await asyncio.sleep(0.001)
        still_waits = not first.done()
        oracle.open.set()
        await first
        return still_waits, await second

    assert with_oracle(ask) == ((True, 1), [[0], [1]])


def test_an_error_is_raised_to_whom_it_belongs_and_one_that_is_raised_to_all() -> None:
    async def ask(_: Oracle, gathering: RequestCoalescer[int, int]) -> list[Any]:
        return list(await asyncio.gather(*map(gathering.answer, (1, -1, 2)), return_exceptions=True))

    found, _ = with_oracle(ask)
    assert (found[0], found[2]) == (1, 2)
    assert isinstance(found[1], ValueError)

    async def ask_nobody() -> list[Any]:
        async def fail(_: Sequence[int]) -> list[int]:
            raise ConnectionError("nobody there")

        gathering = RequestCoalescer(fail)
        again = [await asyncio.gather(*map(gathering.answer, (1, 2)), return_exceptions=True) for _ in range(2)]
        return [error for errors in again for error in errors]

    assert [type(error) for error in asyncio.run(ask_nobody())] == [ConnectionError] * 4


def test_whoever_gives_up_takes_no_answer_from_the_others() -> None:
    async def ask(oracle: Oracle, gathering: RequestCoalescer[int, int]) -> int:
        oracle.open.clear()
        first, second = (asyncio.create_task(gathering.answer(number)) for number in (1, 2))
        while not oracle.asked:
            await asyncio.sleep(0)
        first.cancel()
        oracle.open.set()
        with pytest.raises(asyncio.CancelledError):
            await first
        return await second

    assert with_oracle(ask) == (2, [[1, 2]])


def test_what_waits_in_a_thread_does_not_hold_the_event_loop() -> None:
    seen: list[int] = []

    def wait(questions: Sequence[int]) -> Sequence[int]:
        seen.append(threading.get_ident())
        time.sleep(0.2)
        return questions

    async def run() -> tuple[int, int]:
        asked = asyncio.create_task(RequestCoalescer(threaded(wait)).answer(7))
        turns = 0
        while not asked.done():
            turns += 1
            await asyncio.sleep(0.01)
        return await asked, turns

    answer, turns = asyncio.run(run())
    assert answer == 7
    assert turns > 3
    assert seen != [threading.get_ident()]
