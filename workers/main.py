"""Composition root of a worker: settings -> device -> models -> announcement -> RQ loop."""

import logging
import os
import signal
import socket
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any

from pydantic import ValidationError
from redis import Redis
from rq.serializers import JSONSerializer

from app.contract.counters import PersistentCounters
from app.contract.exit_codes import BROKEN_DEVICE
from app.contract.explanations.reuse_index import BlockReuseIndex
from app.contract.explanations.store import ExplanationStore
from app.contract.log_context import configure_logs
from app.contract.queue.fair_queue import scheduling_tags_of
from app.contract.queue.jobs import (
    ASSIST,
    AUDIT,
    EXPLAIN,
    MEASURE,
    PREDICT,
    SURVEY_FIGURES,
    SURVEY_REPORT,
    JobQueue,
)
from app.contract.queue.rq_compat import job_class, open_queue
from app.contract.queue.throughput import ThroughputStats
from app.contract.redis.client import connect_with_retry
from app.contract.schemas import Status
from app.contract.settings import Settings
from app.contract.storage.object_store import BlobStore
from app.contract.tracing import configure_tracing
from workers.blackbox.device import choose_device
from workers.execution.assistance import help_with
from workers.execution.run import JobContext
from workers.execution.shards import PeerWorkers, ShardQueue
from workers.registry.heartbeat import HeartbeatPublisher, announcement
from workers.registry.model_registry import ModelRegistry
from workers.supervision.retry_policy import RetryPolicy
from workers.supervision.watchdog import Watchdog, crash_folder
from workers.supervision.worker import LOST_AFTER_HEARTBEATS, InProcessWorker
from workers.tasks import audit, explain, measure, predict, survey_figures, survey_report

logger = logging.getLogger(__name__)

_WORKER_TTL_SECONDS = 45  # RQ waits for jobs, and for replies of Redis, a little less long
_MIN_BLOCKED_SECONDS = 10.0


def run_worker(settings: Settings) -> None:
    """Serve the models of the models file until the process is asked to stop."""
    configure_logs(settings.log_format, settings.log_level)
    configure_tracing("rise-serve-worker")
    stopping = Event()
    device = choose_device(settings.device)
    models = ModelRegistry(settings.models, device)
    redis = connect_with_retry(settings.redis_url, seconds=settings.outage_seconds, stopping=stopping)
    context = _context(settings, redis, models, stopping)
    worker = _worker(settings, redis, context)
    publisher = HeartbeatPublisher(
        redis,
        worker,
        lambda: announcement(worker, settings.queue, device, models.cards()),
        heartbeat_seconds=settings.heartbeat_seconds,
    )
    publisher.start()
    signal.signal(signal.SIGHUP, lambda *_: Thread(target=models.reload, name="reload", daemon=True).start())
    models.load_local()
    Thread(target=models.retry_failed_loads, args=[stopping], name="retry-loads", daemon=True).start()
    try:
        worker.work(logging_level="WARNING")
        if worker.device_broke:
            _exit_immediately()
    finally:
        publisher.stop()


def _exit_immediately() -> None:
    """End the process without clean-up, which would use the broken device.

    The announcement stays until it expires: requests meanwhile wait for the worker that is started next.
    """
    logger.error("the device broke under a model: this worker ends itself")
    logging.shutdown()
    os._exit(BROKEN_DEVICE)


def _context(settings: Settings, redis: Redis, models: ModelRegistry, stopping: Event) -> JobContext:
    return JobContext(
        store=ExplanationStore(redis, keep_seconds=settings.keep_seconds),
        blobs=BlobStore(settings.storage_url, seconds=settings.storage_seconds),
        models=models,
        statistics=PersistentCounters(redis),
        checkpoint_seconds=settings.checkpoint_seconds,
        peers=_peers(settings, redis),
        reuse_index=BlockReuseIndex(redis),
        outage_seconds=settings.outage_seconds,
        stopping=stopping,
    )


def _peers(settings: Settings, redis: Redis) -> PeerWorkers:
    return PeerWorkers(
        redis,
        JobQueue(redis, timeout_seconds=settings.job_timeout_seconds),
        ShardQueue(redis),
        queue=settings.queue,
        worker=f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}",
        share_after_seconds=settings.share_seconds,
    )


def _worker(settings: Settings, redis: Redis, context: JobContext) -> InProcessWorker:
    tasks: dict[str, Callable[..., Any]] = {
        EXPLAIN: explain,
        AUDIT: audit,
        ASSIST: help_with,
        PREDICT: predict,
        MEASURE: measure,
        SURVEY_FIGURES: survey_figures,
        SURVEY_REPORT: survey_report,
    }
    allowed = job_class({name: partial(task, context) for name, task in tasks.items()})
    queue = open_queue(redis, settings.queue, allowed)
    crashes = crash_folder(settings.data)
    return InProcessWorker(
        [queue],
        name=context.peers.worker,
        connection=redis,
        job_class=allowed,
        serializer=JSONSerializer,
        heartbeat_seconds=settings.heartbeat_seconds,
        worker_ttl=_WORKER_TTL_SECONDS,
        stopping=context.stopping,
        watchdog=_watchdog(settings, context.peers.worker, crashes),
        retries=RetryPolicy(redis, context.store, context.blobs, queue, crashes=crashes),
        on_job_end=partial(
            _enqueue_if_waiting, context.store, context.peers.jobs, ThroughputStats(redis), settings.queue
        ),
        log_job_description=False,
    )


def _watchdog(settings: Settings, worker: str, crashes: Path) -> Watchdog:
    blocked = max(LOST_AFTER_HEARTBEATS * settings.heartbeat_seconds, _MIN_BLOCKED_SECONDS)
    watchdog = Watchdog(
        worker,
        stall_seconds=settings.stall_seconds,
        blocked_seconds=min(blocked, settings.stall_seconds),
        folder=crashes,
    )
    watchdog.start()
    return watchdog


def _enqueue_if_waiting(
    store: ExplanationStore, jobs: JobQueue, throughput: ThroughputStats, queue: str, explanation_id: str
) -> None:
    """Enqueue an explanation that was deleted or cancelled while it ran here, and requested again meanwhile.

    Its new job has the id of the old one, and RQ deletes ended jobs by id.
    """
    if store.status_of(explanation_id) is not Status.QUEUED:
        return
    with suppress(ValidationError):  # because a front end that can read it requeues it, as every orphan
        record = store.read(explanation_id)
        if record is not None:
            tags = scheduling_tags_of(record, throughput.seconds_per_mask())
            jobs.enqueue_explanation(queue, explanation_id, again=False, tags=tags)
