"""Sends predictions that were put off to Label Studio, when there are any, until they arrive.

Every front end does it; each delayed task is leased by one of them. A prediction that is there already, because Label
Studio has asked again or a front end died before it could say so, is not sent again.
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
from app.integrations.label_studio.backend import MlBackend, TaskJob, is_told
from app.integrations.label_studio.delayed_tasks import DelayedTask, LeasedTask
from app.label_studio_format.predictions import overlay_of
from app.maintenance.periodic import PeriodicTask, consumer

logger = logging.getLogger(__name__)

_AT_ONCE = 8
_LOOK_SECONDS = 0.5
_LEASE_SECONDS = 120.0  # longer than the exchanges of one push take
_UNFINISHED_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 600.0
_GIVE_UP_SECONDS = 86_400.0
_NOT_FETCHED = "image-not-fetched"


class PermanentFailure(Exception):  # noqa: N818 - says what becomes of a task
    """A prediction will never be sent, and why."""


class Reschedule(NamedTuple):
    """What is left of a task, and after how many seconds to look again."""

    task: DelayedTask
    seconds: float


@dataclass(frozen=True)
class PredictionPusher:
    """Pushes predictions."""

    backend: MlBackend

    def task(self) -> PeriodicTask:
        """Return the background task that pushes what was put off."""
        return consumer(
            "push_predictions",
            partial(self.backend.tasks.lease, seconds=_LEASE_SECONDS),
            self.attend,
            describe=lambda leased: leased.task.id,
            concurrency=_AT_ONCE,
            interval_seconds=_LOOK_SECONDS,
        )

    async def attend(self, leased: LeasedTask) -> None:
        """Take one look at a task: push its prediction, put it off again, or say why there never will be one."""
        tasks, errand = self.backend.tasks, TaskJob.model_validate(leased.task.content)
        try:
            left = await self._advance(leased.task, errand)
        except (PermanentFailure, BlobNotFoundError) as reason:
            logger.warning("task %d gets no prediction: %s", errand.task, reason)
            left = None
        if left is None:
            await run_in_threadpool(tasks.complete, leased)
        else:
            await run_in_threadpool(tasks.reschedule, leased, left.task, seconds=left.seconds)

    async def _advance(self, task: DelayedTask, errand: TaskJob) -> Reschedule | None:
        """Go on with a task; return what is left of it, None where it is done."""
        if errand.explanation is None:
            return await self._start(task, errand)
        record = await run_in_threadpool(self.backend.services.store.read, errand.explanation)
        if (problem := failure_of(record)) is not None:
            raise PermanentFailure(problem.detail)
        if record is None or not is_told(record):
            return Reschedule(task, _UNFINISHED_SECONDS)
        try:
            await self._push(errand, record)
        except httpx2.HTTPError as error:
            if isinstance(error, LabelStudioHttpError) and error.status in {400, 404}:
                raise PermanentFailure(str(error)) from error
            return Reschedule(task, _patience(record.finished_at or task.made_at, error))
        return None

    async def _start(self, task: DelayedTask, errand: TaskJob) -> Reschedule:
        """Ask for the explanation for which there was no room before."""
        try:
            started = await self.backend.started(errand)
        except RiseError as error:
            is_gone = partial(self.backend.services.served.is_gone, errand.request.model.id, since=task.made_at)
            if error.code == "no-worker" and await run_in_threadpool(is_gone):
                raise PermanentFailure(error.detail) from error
            if error.retry_after_seconds is not None:
                return Reschedule(task, max(_UNFINISHED_SECONDS, error.retry_after_seconds))
            if error.code == _NOT_FETCHED:
                return Reschedule(task, _patience(task.made_at, error))
            raise PermanentFailure(error.detail) from error
        renewed = task.model_copy(update={"content": started.model_dump(mode="json")})
        return Reschedule(renewed, _UNFINISHED_SECONDS)

    async def _push(self, errand: TaskJob, record: ExplanationRecord) -> None:
        studio = self.backend.studio
        if not await studio.has_prediction(errand.task, errand.version):
            await studio.add_prediction(errand.task, await self.backend.prediction(errand, record))
        if errand.layout.overlay is not None and not record.found_nothing:
            picture = await run_in_threadpool(overlay_of, record, self.backend.services.renderer)
            await studio.show(errand.task, errand.layout.overlay, picture)


def _patience(since: datetime, error: Exception) -> float:
    """Return how long to wait after an attempt that failed: half as long as has passed since it might have worked.

    Raises:
        Never: when that is a day.
    """
    passed = (datetime.now(UTC) - since).total_seconds()
    if passed > _GIVE_UP_SECONDS:
        raise PermanentFailure(str(error))
    return min(max(1.0, passed / 2), _LONGEST_PAUSE_SECONDS)
