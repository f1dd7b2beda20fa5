"""Pushes delayed predictions to Label Studio, with retries.

Every front end runs it; each delayed task is leased by one of them. A prediction that exists already, because Label
Studio has repeated its request or a front end died before it could acknowledge the task, is not sent again.
"""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

import httpx2
from starlette.concurrency import run_in_threadpool

from app.contract.errors import BlobNotFoundError, RiseError
from app.contract.schemas import ExplanationRecord
from app.explanations.service import failure_of
from app.integrations.label_studio.api_client import LabelStudioHttpError
from app.integrations.label_studio.backend import MlBackend, TaskJob, has_result
from app.integrations.label_studio.delayed_tasks import DelayedTask, LeasedTask
from app.label_studio_format.predictions import overlays_of
from app.maintenance.periodic import PeriodicTask, consumer

logger = logging.getLogger(__name__)

_CONCURRENCY = 8
_POLL_SECONDS = 0.5
_LEASE_SECONDS = 120.0  # longer than the exchanges of one push take
_UNFINISHED_RETRY_SECONDS = 1.0
_MAX_RETRY_SECONDS = 600.0
_GIVE_UP_SECONDS = 86_400.0
_NOT_FETCHED = "image-not-fetched"


class PermanentFailure(Exception):  # noqa: N818 - an outcome of a task
    """A prediction cannot be pushed, now or later."""


class Reschedule(NamedTuple):
    """The task to be processed again, and after how many seconds."""

    task: DelayedTask
    seconds: float


@dataclass(frozen=True)
class PredictionPusher:
    """Pushes predictions."""

    backend: MlBackend

    def task(self) -> PeriodicTask:
        """Return the background task that pushes delayed predictions."""
        return consumer(
            "push_predictions",
            partial(self.backend.tasks.lease, seconds=_LEASE_SECONDS),
            self.process,
            describe=lambda leased: leased.task.id,
            concurrency=_CONCURRENCY,
            interval_seconds=_POLL_SECONDS,
        )

    async def process(self, leased: LeasedTask) -> None:
        """Process a task once: push its prediction, reschedule it, or log why it fails for good."""
        tasks, job = self.backend.tasks, TaskJob.model_validate(leased.task.content)
        try:
            outcome = await self._advance(leased.task, job)
        except (PermanentFailure, BlobNotFoundError) as reason:
            logger.warning("task %d gets no prediction: %s", job.task, reason)
            outcome = None
        if outcome is None:
            await run_in_threadpool(tasks.complete, leased)
        else:
            await run_in_threadpool(tasks.reschedule, leased, outcome.task, seconds=outcome.seconds)

    async def _advance(self, task: DelayedTask, job: TaskJob) -> Reschedule | None:
        """Advance a task by one step; return None where it is done."""
        if job.explanation is None:
            return await self._start(task, job)
        record = await run_in_threadpool(self.backend.services.store.read, job.explanation)
        if (failure := failure_of(record)) is not None:
            raise PermanentFailure(failure.detail)
        if record is None or not has_result(record):
            return Reschedule(task, _UNFINISHED_RETRY_SECONDS)
        try:
            await self._push(job, record)
        except httpx2.HTTPError as error:
            if isinstance(error, LabelStudioHttpError) and error.status in {400, 404}:
                raise PermanentFailure(str(error)) from error
            return Reschedule(task, _retry_seconds(record.finished_at or task.made_at, error))
        return None

    async def _start(self, task: DelayedTask, job: TaskJob) -> Reschedule:
        """Submit the explanation, for which there was no room before."""
        try:
            submitted = await self.backend.submit(job)
        except RiseError as error:
            is_gone = partial(self.backend.services.served_models.is_gone, job.request.model.id, since=task.made_at)
            if error.code == "no-worker" and await run_in_threadpool(is_gone):
                raise PermanentFailure(error.detail) from error
            if error.retry_after_seconds is not None:
                return Reschedule(task, max(_UNFINISHED_RETRY_SECONDS, error.retry_after_seconds))
            if error.code == _NOT_FETCHED:
                return Reschedule(task, _retry_seconds(task.made_at, error))
            raise PermanentFailure(error.detail) from error
        updated = task.model_copy(update={"content": submitted.model_dump(mode="json")})
        return Reschedule(updated, _UNFINISHED_RETRY_SECONDS)

    async def _push(self, job: TaskJob, record: ExplanationRecord) -> None:
        studio = self.backend.studio
        if not await studio.has_prediction(job.task, job.version):
            await studio.add_prediction(job.task, await self.backend.prediction(job, record))
        if job.layout.overlay is not None and not record.has_no_target:
            data_url = await run_in_threadpool(overlays_of, record, self.backend.services.renderer)
            await studio.patch_task_data(job.task, job.layout.overlay, data_url)


def _retry_seconds(since: datetime, error: Exception) -> float:
    """Return the delay of the next attempt: half of the time since the first one.

    Raises:
        PermanentFailure: after a day.
    """
    elapsed = (datetime.now(UTC) - since).total_seconds()
    if elapsed > _GIVE_UP_SECONDS:
        raise PermanentFailure(str(error))
    return min(max(1.0, elapsed / 2), _MAX_RETRY_SECONDS)
