"""Responds to Label Studio in time: with predictions of finished explanations, or with 503.

Label Studio stores an empty response as a prediction and does not repeat the request, so an unfinished explanation must
not produce one. Predictions of one request are returned together or not at all: where one is missing at the deadline,
all of them are pushed later (`prediction_pusher.py`).
"""

import asyncio
import time
from contextlib import suppress
from typing import NamedTuple

from app.contract.errors import RiseError
from app.contract.schemas import ExplanationRecord, JsonObject
from app.explanations.service import failure_of
from app.integrations.label_studio.backend import MlBackend, TaskJob, has_result

RETRY_AFTER_SECONDS = 30.0
_MAX_SECONDS = 80.0  # Label Studio times out after 100, and scheduling thousands of tasks takes a while
_STORED_SECONDS = 5.0  # by then Label Studio has stored the predictions of a response


class TaskOutcome(NamedTuple):
    """The state of a task at the deadline: its explanation, or why there is none."""

    job: TaskJob
    record: ExplanationRecord | None = None
    error: RiseError | None = None


def deadline_of(backend: MlBackend) -> float:
    """Return until when a request that arrives now may take, on the monotonic clock."""
    return time.monotonic() + min(_MAX_SECONDS, backend.services.settings.max_wait_seconds)


async def predictions(backend: MlBackend, jobs: list[TaskJob]) -> list[JsonObject]:
    """Return the predictions for tasks.

    Raises:
        RiseError: `busy` where they are pushed later; for a single task, what is wrong with it.
    """
    end, deadline = asyncio.get_running_loop().time() + _MAX_SECONDS, deadline_of(backend)
    outcomes = await asyncio.gather(*(_outcome(backend, job, deadline) for job in jobs))
    if len(outcomes) == 1 and (error := _permanent_error(outcomes[0])) is not None:
        raise error
    with suppress(TimeoutError):  # because rendering the masks of thousands of finished tasks takes long too
        async with asyncio.timeout_at(end):
            if all(has_result(outcome.record) for outcome in outcomes):
                return [await _to_prediction(backend, outcome) for outcome in outcomes]
    pending = [outcome.job for outcome in outcomes if _permanent_error(outcome) is None]
    await asyncio.gather(*(backend.schedule(job, seconds=0) for job in pending))
    raise RiseError(
        "busy",
        "not all explanations are finished; their predictions are sent to Label Studio when they are",
        retry_after_seconds=RETRY_AFTER_SECONDS,
    )


async def _outcome(backend: MlBackend, job: TaskJob, deadline: float) -> TaskOutcome:
    try:
        async with asyncio.timeout(_MAX_SECONDS):
            submitted = await backend.submit(job)
    except TimeoutError:  # because Label Studio sends all tasks of a project at once, and each image is fetched
        return TaskOutcome(job)
    except RiseError as error:
        return TaskOutcome(job, error=error)
    return TaskOutcome(submitted, await backend.wait(submitted, seconds=max(0.0, deadline - time.monotonic())))


def _permanent_error(outcome: TaskOutcome) -> RiseError | None:
    """Return why a task will never have a prediction; None where it has one or may have one later."""
    if outcome.error is not None:
        return outcome.error if outcome.error.retry_after_seconds is None else None
    return failure_of(outcome.record) if outcome.job.explanation is not None else None


async def _to_prediction(backend: MlBackend, outcome: TaskOutcome) -> JsonObject:
    """Return the prediction of a task; its overlay, if there is one, is pushed later."""
    job, record = outcome.job, outcome.record
    assert record is not None
    prediction = await backend.prediction(job, record)
    if job.layout.overlay is None or record.has_no_target:
        await backend.cancel(job)
    else:
        await backend.schedule(job, seconds=_STORED_SECONDS)
    return prediction
