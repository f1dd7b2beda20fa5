"""Explanations for CVAT, in the time that it waits.

A job that annotates a whole task ends with the first frame that gets an error, so whatever may pass is waited for: room
in the queue, as well as the explanation. What is not finished goes on, and whoever starts the job again finds it.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from starlette.concurrency import run_in_threadpool

from app.auth.principal import Principal
from app.contract.errors import RiseError, reported_error
from app.contract.schemas import CanonicalRequest, ExplanationRecord, JsonObject
from app.explanations.service import build_request, split_params
from app.services import Services

Result = TypeVar("Result")

_UNTOLD_SECONDS = 120.0  # what CVAT waits if nobody tells it otherwise; older versions do not say
_SHARE = 0.8  # of the time that CVAT waits, because an answer has to be drawn and sent too
_COME_AGAIN_SECONDS = 30.0
_SHORTEST_PAUSE_SECONDS = 0.5


@dataclass(frozen=True)
class Invocation:
    """One call of CVAT.

    Attributes:
        services: of this front end.
        caller: on whose behalf it is run.
        deadline: until when CVAT is kept waiting, on the monotonic clock.
    """

    services: Services
    caller: Principal
    deadline: float

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return max(0.0, self.deadline - time.monotonic())

    async def explained(self, model: str, image: bytes, targets: list[JsonObject] | None = None) -> ExplanationRecord:
        """Return an explanation that has succeeded, or one that has found nothing to explain.

        Raises:
            RiseError: what is wrong with the image, `busy` where it is not finished in time, or why it failed.
        """
        question = {**self.services.settings.cvat_parameters, "model": model, "targets": targets}
        asked, parameters = split_params(question)
        request = build_request(await run_in_threadpool(self.services.catalogue.now), asked, parameters)
        record = await self._ended(await self.patient(partial(self._submit, request, image)))
        if record.tells:
            return record
        if not record.status.ended:
            detail = f"explanation {record.id} is not finished; it goes on, and the same call finds it finished"
            raise RiseError("busy", detail, retry_after_seconds=_COME_AGAIN_SECONDS)
        if record.error is not None:
            raise reported_error(record.error.code, record.error.detail)
        raise RiseError("model-failed", f"the explanation was {record.status.value}")

    async def patient(self, attempt: Callable[[], Awaitable[Result]]) -> Result:
        """Return what a function returns, which is called again for as long as it says that this makes sense.

        Raises:
            RiseError: of the last call, when the time is up.
        """
        while True:
            try:
                return await attempt()
            except RiseError as problem:
                if problem.retry_after_seconds is None:
                    raise
                pause = max(problem.retry_after_seconds, _SHORTEST_PAUSE_SECONDS)
                if pause >= self.left:
                    raise
            await asyncio.sleep(pause)

    async def _submit(self, request: CanonicalRequest, image: bytes) -> ExplanationRecord:
        catalogue = await run_in_threadpool(self.services.catalogue.now)
        return (await self.services.submission.submit(catalogue, request, image, self.caller)).record

    async def _ended(self, submitted: ExplanationRecord) -> ExplanationRecord:
        after = await self.services.events.position(submitted.id)
        record = await run_in_threadpool(self.services.store.read, submitted.id)
        if record is not None and not record.status.ended:
            await self.services.events.wait_for_end(submitted.id, after=after, seconds=self.left)
            record = await run_in_threadpool(self.services.store.read, submitted.id)
        if record is None:
            raise RiseError("expired", "the explanation is gone")
        return record


def deadline_of(told: str | None, longest_seconds: float) -> float:
    """Return until when CVAT is kept waiting, on the monotonic clock.

    Args:
        told: what it says that it waits, such as `120s`.
        longest_seconds: that the operator allows.
    """
    said = re.fullmatch(r"([0-9]{1,6})s", told or "")
    seconds = float(said[1]) if said else _UNTOLD_SECONDS
    return time.monotonic() + min(_SHARE * seconds, longest_seconds)
