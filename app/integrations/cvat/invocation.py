"""Explanations for CVAT within the time that it waits for a response.

A job that annotates a whole task ends with the first frame that gets an error. So errors that may pass, such as a full
queue, are retried until the deadline. What is not finished then goes on, and a job that is started again finds it.
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
from app.contract.errors import RiseError
from app.contract.schemas import ExplanationRecord, JsonObject
from app.explanations.service import SubmitResult, failure_of
from app.services import Services

Result = TypeVar("Result")

_DEFAULT_SECONDS = 120.0  # CVAT's own default; older versions do not send how long they wait
_SHARE = 0.8  # of the time that CVAT waits, because a response has to be rendered and sent too
_RETRY_AFTER_SECONDS = 30.0
_MIN_PAUSE_SECONDS = 0.5


@dataclass(frozen=True)
class Invocation:
    """One call of CVAT.

    Attributes:
        services: of this front end.
        principal: who sent it.
        deadline: until when CVAT waits, on the monotonic clock.
    """

    services: Services
    principal: Principal
    deadline: float

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return max(0.0, self.deadline - time.monotonic())

    async def explain(self, model: str, image: bytes, targets: list[JsonObject] | None = None) -> ExplanationRecord:
        """Return an explanation that has succeeded, or one that has found nothing to explain.

        Raises:
            RiseError: what is wrong with the image, `busy` where it is not finished in time, or why it failed.
        """
        fields = {**self.services.settings.cvat_parameters, "model": model, "targets": targets}
        submitted = await self.retry(partial(self._submit, fields, image))
        record = await self.services.explanations.wait(submitted.record.id, seconds=self.left)
        if (error := failure_of(record)) is not None:
            raise error
        if record is None or not record.status.ended:
            detail = (
                f"explanation {submitted.record.id} is not finished; it goes on, and the same call finds it finished"
            )
            raise RiseError("busy", detail, retry_after_seconds=_RETRY_AFTER_SECONDS)
        return record

    async def retry(self, attempt: Callable[[], Awaitable[Result]]) -> Result:
        """Return what a function returns, after calling it again while it raises errors that may pass.

        Raises:
            RiseError: of the last call, when the deadline has passed.
        """
        while True:
            try:
                return await attempt()
            except RiseError as error:
                if error.retry_after_seconds is None:
                    raise
                pause = max(error.retry_after_seconds, _MIN_PAUSE_SECONDS)
                if pause >= self.left:
                    raise
            await asyncio.sleep(pause)

    async def _submit(self, fields: JsonObject, image: bytes) -> SubmitResult:
        command = await run_in_threadpool(self.services.commands.read, fields, self.principal)
        return await self.services.explanations.submit(command, image)


def deadline_of(timeout: str | None, max_seconds: float) -> float:
    """Return until when an invocation may take, on the monotonic clock.

    Args:
        timeout: how long CVAT waits by its own account, such as `120s`.
        max_seconds: that the operator allows.
    """
    found = re.fullmatch(r"([0-9]{1,6})s", timeout or "")
    seconds = float(found[1]) if found else _DEFAULT_SECONDS
    return time.monotonic() + min(_SHARE * seconds, max_seconds)
