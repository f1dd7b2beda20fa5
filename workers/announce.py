"""The worker's background thread: says what the worker can do, and looks after jobs that were left behind.

Jobs whose worker died are found by their missing heartbeats and put back on the queue; one that has used up its
attempts fails as `worker-lost`, with a reason on the explanation.
"""

import logging
import threading
import time
from collections.abc import Callable
from importlib.metadata import version

import torch
from redis import Redis
from redis.exceptions import LockError
from rq import Queue

from app.contract.announcements import announce, withdraw
from app.contract.losses import forgive
from app.contract.queue import EXPLAIN
from app.contract.schemas import Announcement, Failure, MethodCard, ModelCard
from app.contract.store import Store
from workers.device import describe_device
from workers.fills import fill_names
from workers.memory import memory_bytes
from workers.methods import method, method_names
from workers.warm import LOST_AFTER_HEARTBEATS, WarmWorker

logger = logging.getLogger(__name__)

_LOST = Failure(code="worker-lost", detail="every worker that ran this explanation was lost; send the request again")


def announcement(worker: WarmWorker, queue: str, device: torch.device, models: list[ModelCard]) -> Announcement:
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


class Pulse:
    """Announces a worker and cleans up after lost ones, from a thread, until it is stopped."""

    def __init__(
        self,
        redis: Redis,
        store: Store,
        worker: WarmWorker,
        queue: Queue,
        describe: Callable[[], Announcement],
        *,
        heartbeat_seconds: float,
    ) -> None:
        self._redis = redis
        self._store = store
        self._worker = worker
        self._queue = queue
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
                    self._rescue()
            except Exception:  # because a server that restarts must not end the pulse
                logger.warning("announcing failed", exc_info=True)

    def _announce(self) -> None:
        announce(self._redis, self._describe(), seconds=LOST_AFTER_HEARTBEATS * self._seconds)

    def _rescue(self) -> None:
        """Put abandoned jobs back on the queue, one worker at a time."""
        lock = self._redis.lock(f"rise:rescue:{self._queue.name}", timeout=10, blocking=False)
        if not lock.acquire():
            return
        try:
            forgive(self._redis, self._queue.started_job_registry)
            self._queue.started_job_registry.cleanup()
            self._queue.intermediate_queue.cleanup(self._worker, self._queue)
            self._give_up()
        finally:
            try:
                lock.release()
            except LockError:
                logger.info("rescuing took longer than its lock")

    def _give_up(self) -> None:
        registry = self._queue.failed_job_registry
        for job_id in registry.get_job_ids():
            job = self._queue.fetch_job(job_id)
            if job is not None and job.func_name == EXPLAIN:
                self._store.fail(job_id, _LOST)
            registry.remove(job_id, delete_job=job is not None)
