"""The worker's background thread: announces the worker, and requeues abandoned jobs.

Jobs whose worker died are detected by their missing heartbeats and requeued; the explanation of one that has used all
attempts fails with a reason (`workers/supervision/retry_policy.py`).
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
    """Return the announcement of a worker."""
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
    """Return the catalogue entry of every method."""
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
    """Announces a worker and requeues the jobs of lost ones, from a thread, until it is stopped."""

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
        self._thread = threading.Thread(target=self._run, name="announcements", daemon=True)

    def start(self) -> None:
        """Announce at once, then start the thread."""
        self._announce()
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread and withdraw the announcement."""
        self._stopped.set()
        self._thread.join()
        withdraw(self._redis, self._worker.name)

    def _run(self) -> None:
        announced_at = time.monotonic()
        requeue_at = announced_at + LOST_AFTER_HEARTBEATS * self._seconds
        while not self._stopped.wait(self._seconds):
            try:
                self._announce()
                announced_at, previous_at = time.monotonic(), announced_at
                if announced_at - previous_at > LOST_AFTER_HEARTBEATS * self._seconds / 2:
                    # Because no worker could send heartbeats while the server was down, which does not make it lost.
                    requeue_at = announced_at + LOST_AFTER_HEARTBEATS * self._seconds
                if announced_at >= requeue_at:
                    self._worker.retries.requeue_abandoned(self._worker)
            except Exception:  # because announcements must go on after the server restarts
                logger.warning("announcing failed", exc_info=True)

    def _announce(self) -> None:
        announce(self._redis, self._describe(), seconds=LOST_AFTER_HEARTBEATS * self._seconds)
