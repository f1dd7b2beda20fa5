"""Keeps what was promised to tasks: sends their predictions to Label Studio, when there are any, until they arrive.

Every front end does it; each promise is leased by one of them. A prediction that is there already, from Label Studio's
own asking or from a pusher that died before it could say so, is not sent again.
"""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

import httpx2
from starlette.concurrency import run_in_threadpool

from app.contract.errors import RiseError
from app.contract.promises import Promise
from app.contract.schemas import Record
from app.integrations.label_studio.backend import Backend, Errand, failure_of, is_told
from app.integrations.label_studio.studio import StudioRefused
from app.label_studio.predictions import overlay_of
from app.maintenance.periodic import PeriodicTask, consumer

logger = logging.getLogger(__name__)

_AT_ONCE = 8
_LOOK_SECONDS = 0.5
_LEASE_SECONDS = 120.0  # longer than the exchanges of one push take
_UNFINISHED_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 600.0
_GIVE_UP_SECONDS = 86_400.0
_NOT_FETCHED = "image-not-fetched"


class Never(Exception):  # noqa: N818 - says what becomes of a promise
    """A promise cannot be kept, and why."""


class Left(NamedTuple):
    """A promise that is not kept yet, and after how many seconds to look again."""

    promise: Promise
    seconds: float


@dataclass(frozen=True)
class Pusher:
    """Pushes predictions."""

    backend: Backend

    def task(self) -> PeriodicTask:
        """Return the background task that looks after promises."""
        return consumer(
            "push_predictions",
            partial(self.backend.promises.lease, seconds=_LEASE_SECONDS),
            self.attend,
            describe=lambda promise: promise.id,
            concurrency=_AT_ONCE,
            interval_seconds=_LOOK_SECONDS,
        )

    async def attend(self, promise: Promise) -> None:
        """Take one look at a promise: keep it, put it off, or say why it never will be kept."""
        promises, errand = self.backend.promises, Errand.model_validate(promise.content)
        try:
            left = await self._advance(promise, errand)
            if left is None:
                await run_in_threadpool(promises.settle, promise.id)
            else:
                await run_in_threadpool(promises.put_off, left.promise, seconds=left.seconds)
        except Never as reason:
            logger.warning("task %d gets no prediction: %s", errand.task, reason)
            await run_in_threadpool(promises.settle, promise.id)

    async def _advance(self, promise: Promise, errand: Errand) -> Left | None:
        """Go on with a promise; return what is left of it, None where it is kept."""
        if errand.explanation is None:
            return await self._start(promise, errand)
        record = await run_in_threadpool(self.backend.services.store.read, errand.explanation)
        if (problem := failure_of(record)) is not None:
            raise Never(problem.detail)
        if record is None or not is_told(record):
            return Left(promise, _UNFINISHED_SECONDS)
        try:
            await self._push(errand, record)
        except httpx2.HTTPError as error:
            if isinstance(error, StudioRefused) and error.status in {400, 404}:
                raise Never(str(error)) from error
            return Left(promise, _patience(record.finished_at or promise.made_at, error))
        return None

    async def _start(self, promise: Promise, errand: Errand) -> Left:
        """Ask for the explanation for which there was no room when it was promised."""
        try:
            started = await self.backend.started(errand)
        except RiseError as error:
            if error.retry_after_seconds is not None:
                return Left(promise, max(_UNFINISHED_SECONDS, error.retry_after_seconds))
            if error.code == _NOT_FETCHED:
                return Left(promise, _patience(promise.made_at, error))
            raise Never(error.detail) from error
        renewed = promise.model_copy(update={"content": started.model_dump(mode="json")})
        return Left(renewed, _UNFINISHED_SECONDS)

    async def _push(self, errand: Errand, record: Record) -> None:
        studio = self.backend.studio
        if not await studio.has_prediction(errand.task, errand.version):
            await studio.add_prediction(errand.task, await self.backend.prediction(errand, record))
        if errand.layout.overlay is not None and not record.found_nothing:
            picture = await run_in_threadpool(overlay_of, record, self.backend.services.blobs)
            await studio.show(errand.task, errand.layout.overlay, picture)


def _patience(since: datetime, error: Exception) -> float:
    """Return how long to wait after an attempt that failed: half as long as has passed since it might have worked.

    Raises:
        Never: when that is a day.
    """
    passed = (datetime.now(UTC) - since).total_seconds()
    if passed > _GIVE_UP_SECONDS:
        raise Never(str(error))
    return min(max(1.0, passed / 2), _LONGEST_PAUSE_SECONDS)
