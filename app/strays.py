"""Looks after explanations that wait: those without a job get one, and none expires before it has had its turn.

Every front end runs it; they take turns.
"""

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass

from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool

from app.contract.errors import RiseError
from app.contract.turns import Turn
from app.dependencies import Services

logger = logging.getLogger(__name__)

_SILENT_HEARTBEATS = 12.0


@dataclass(frozen=True)
class Shepherd:
    """Enqueues strays again, and renews what waits for long.

    Attributes:
        services: of this process.
    """

    services: Services

    async def keep_looking(self) -> None:
        """Look in turns, until cancelled; what fails is tried again in the next round."""
        settings = self.services.settings
        every_seconds = min(settings.sweep_seconds, settings.keep_seconds / 4)
        while True:
            await asyncio.sleep(every_seconds)
            try:
                if await run_in_threadpool(self.services.expiry.take_turn, "strays", seconds=0.9 * every_seconds):
                    await run_in_threadpool(self.bring_back)
                    await run_in_threadpool(self.renew)
            except RedisError as cause:
                logger.warning("cannot look for strays now: %s", cause)

    def bring_back(self) -> None:
        """Enqueue every stray whose model somebody serves."""
        silent_seconds = _SILENT_HEARTBEATS * self.services.settings.heartbeat_seconds
        catalogue = self.services.catalogue.now()
        for explanation_id in self.services.strays.find(silent_seconds=silent_seconds):
            record = self.services.store.read(explanation_id)
            if record is None or record.status.ended:
                continue
            with suppress(RiseError):  # because it can wait until somebody serves its model again
                queue = catalogue.queue_of(record.request.model.id)
                self.services.jobs.enqueue_explanation(queue, explanation_id, again=False, turn=Turn(record.tenant))
                logger.warning("explanation %s had no job; it has a new one", explanation_id)

    def renew(self) -> None:
        """Put off the end of what still waits for its turn: whoever was promised an explanation gets it."""
        self.services.store.renew(list(self.services.strays.patient()))
