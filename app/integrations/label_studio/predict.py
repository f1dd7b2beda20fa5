"""Answers Label Studio in time: from finished explanations, or with "later".

Label Studio stores an empty answer as a prediction and does not ask again, so an unfinished explanation is never
answered with one. Its predictions come together or not at all: where one is missing when the time is up, all of them
are sent later (`prediction_pusher.py`).
"""

import asyncio
import time
from contextlib import suppress
from typing import NamedTuple

from app.contract.errors import RiseError
from app.contract.schemas import ExplanationRecord, JsonObject
from app.explanations.service import failure_of
from app.integrations.label_studio.backend import MlBackend, TaskJob, is_told

COME_AGAIN_SECONDS = 30.0
_LONGEST_SECONDS = 80.0  # Label Studio gives up after 100, and to put off thousands of tasks takes a while
_STORED_SECONDS = 5.0  # by when Label Studio has stored the predictions of an answer


class TaskOutcome(NamedTuple):
    """How far a task came: its errand, and the explanation as it stands or why there is none."""

    errand: TaskJob
    record: ExplanationRecord | None = None
    problem: RiseError | None = None


def deadline_of(backend: MlBackend) -> float:
    """Return until when a request that came now can be held, on the monotonic clock."""
    return time.monotonic() + min(_LONGEST_SECONDS, backend.services.settings.max_wait_seconds)


async def predictions(backend: MlBackend, errands: list[TaskJob]) -> list[JsonObject]:
    """Return the predictions for tasks.

    Raises:
        RiseError: `busy` where they come later; for a single task, what is wrong with it.
    """
    end, deadline = asyncio.get_running_loop().time() + _LONGEST_SECONDS, deadline_of(backend)
    outcomes = await asyncio.gather(*(_outcome(backend, errand, deadline) for errand in errands))
    if len(outcomes) == 1 and (problem := _hopeless(outcomes[0])) is not None:
        raise problem
    with suppress(TimeoutError):  # because the masks of thousands of finished tasks take their time too
        async with asyncio.timeout_at(end):
            if all(is_told(outcome.record) for outcome in outcomes):
                return [await _said(backend, outcome) for outcome in outcomes]
    owed = [outcome.errand for outcome in outcomes if _hopeless(outcome) is None]
    await asyncio.gather(*(backend.send_later(errand, seconds=0) for errand in owed))
    raise RiseError(
        "busy",
        "not all explanations are finished; their predictions are sent to Label Studio when they are",
        retry_after_seconds=COME_AGAIN_SECONDS,
    )


async def _outcome(backend: MlBackend, errand: TaskJob, deadline: float) -> TaskOutcome:
    try:
        async with asyncio.timeout(_LONGEST_SECONDS):
            started = await backend.started(errand)
    except TimeoutError:  # because Label Studio sends all tasks of a project at once, and each has an image
        return TaskOutcome(errand)
    except RiseError as problem:
        return TaskOutcome(errand, problem=problem)
    return TaskOutcome(started, await backend.ended(started, seconds=max(0.0, deadline - time.monotonic())))


def _hopeless(outcome: TaskOutcome) -> RiseError | None:
    """Return why a task will never have a prediction; None where it may come, or is there."""
    if outcome.problem is not None:
        return outcome.problem if outcome.problem.retry_after_seconds is None else None
    return failure_of(outcome.record) if outcome.errand.explanation is not None else None


async def _said(backend: MlBackend, outcome: TaskOutcome) -> JsonObject:
    """Return the prediction of a task, and see to what is still owed to it: nothing, or the overlay."""
    errand, record = outcome.errand, outcome.record
    assert record is not None
    said = await backend.prediction(errand, record)
    if errand.layout.overlay is None or record.found_nothing:
        await backend.send_nothing(errand)
    else:
        await backend.send_later(errand, seconds=_STORED_SECONDS)
    return said
