"""The worker's background thread: says what the worker can do, and looks after jobs that were left behind.

Jobs whose worker died are found by their missing heartbeats and put back on the queue; the explanation of one that has
used up its attempts fails with a reason (`workers/supervision/retry_policy.py`).
"""

import logging
import threading
import time
from collections.abc import Callable
from importlib.metadata import version

import torch
from redis import Redis

from app.contract.schemas import Announcement, MethodCard, ModelCard
from app.contract.worker_registry import announce, withdraw
from workers.blackbox.device import describe_device
from workers.blackbox.memory import memory_bytes
from workers.fills import fill_names
from workers.methods import method, method_names
from workers.supervision.worker import LOST_AFTER_HEARTBEATS, InProcessWorker

logger = logging.getLogger(__name__)


def announcement(worker: InProcessWorker, queue: str, device: torch.device, models: list[ModelCard]) -> Announcement:
    """Return what a worker says about itself."""
    return Announcement(
        worker=worker.name,
        queue=queue,
        version=version("rise-serve"),
        device=describe_device(device),
        state="busy" if worker.working else "idle",
        memory_bytes=memory_bytes(device),
        models=models,
        methods=method_cards(),
        fills=list(fill_names()),
    )


def method_cards() -> list[MethodCard]:
    """Return what the catalogue says of every method."""
    return [_method_card(name) for name in method_names()]


def _method_card(name: str) -> MethodCard:
    plugin = method(name)
    schema = plugin.Parameters.model_json_schema()
    return MethodCard(
        id=name,
        summary=schema.pop("description"),
        tasks=list(plugin.TASKS),
        default_for=list(plugin.DEFAULT_FOR),
        parameters=schema,
    )


class HeartbeatPublisher:
    """Announces a worker and cleans up after lost ones, from a thread, until it is stopped."""

    def __init__(
        self,
        redis: Redis,
        worker: InProcessWorker,
        describe: Callable[[], Announcement],
        *,
        heartbeat_seconds: float,
    ) -> None:
        self._redis = redis
        self._worker = worker
        self._describe = describe
        self._seconds = heartbeat_seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def start(self) -> None:
        """Announce at once, then go on in the background."""
        self._announce()
        self._thread.start()

    def stop(self) -> None:
        """Take the announcement back."""
        self._stopped.set()
        self._thread.join()
        withdraw(self._redis, self._worker.name)

    def _run(self) -> None:
        beat_at = time.monotonic()
        rescue_at = beat_at + LOST_AFTER_HEARTBEATS * self._seconds
        while not self._stopped.wait(self._seconds):
            try:
                self._announce()
                beat_at, last = time.monotonic(), beat_at
                if beat_at - last > LOST_AFTER_HEARTBEATS * self._seconds / 2:
                    # Because nobody could send a heartbeat while the server was away, and nobody was lost for that.
                    rescue_at = beat_at + LOST_AFTER_HEARTBEATS * self._seconds
                if beat_at >= rescue_at:
                    self._worker.retries.requeue_abandoned(self._worker)
            except Exception:  # because a server that restarts must not end the pulse
                logger.warning("announcing failed", exc_info=True)

    def _announce(self) -> None:
        announce(self._redis, self._describe(), seconds=LOST_AFTER_HEARTBEATS * self._seconds)
