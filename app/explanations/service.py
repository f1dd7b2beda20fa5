"""The use case: an image and a request become one explanation, and the same ones again become the same explanation.

What waits for Redis or the object store, or takes time, runs in the thread pool; status reads run on the event loop.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple

from redis.asyncio import Redis as AsyncRedis
from starlette.concurrency import run_in_threadpool

from app.admission.controller import AdmissionController
from app.auth.principal import Principal
from app.contract.audits import audit_id, most_passes
from app.contract.errors import RiseError, reported_error
from app.contract.explanations.store import ExplanationStore, RawRecord, read_raw
from app.contract.explanations.webhook_subscriptions import WebhookSubscriptions
from app.contract.queue.fair_queue import SchedulingTags, scheduling_tags_of
from app.contract.queue.jobs import JobQueue
from app.contract.queue.throughput import ThroughputStats
from app.contract.schemas import CanonicalRequest, ExplanationRecord, ImageInfo, Progress, Status
from app.contract.storage.object_store import BlobStore, image_blob
from app.contract.tracing import request_context
from app.explanations.catalogue import ResolvedRequest, check_boxes
from app.explanations.commands import SubmitCommand
from app.explanations.enqueue import ExplanationCreator
from app.explanations.events import EventStreams
from app.images.resolver import ImageSourceResolver
from app.images.source import ImageSource
from app.images.validation import ImageValidator

_REUSABLE = frozenset({Status.QUEUED, Status.RUNNING, Status.SUCCEEDED})


class SubmitResult(NamedTuple):
    """An explanation.

    Attributes:
        record: what is stored.
        created: whether this command created it.
        queue_position: jobs before it at that moment; None where the queue has to be read for it.
        eta_seconds: estimated time until it has ended, where that is known.
        audit: that was asked for with it.
    """

    record: ExplanationRecord
    created: bool
    queue_position: int | None = None
    eta_seconds: float | None = None
    audit: ExplanationRecord | None = None


def fingerprint(request: CanonicalRequest, image_sha256: str, tenant: str) -> str:
    """Return the id of an explanation: hash of the image's bytes, the whole request and the model's digest.

    The tenant is part of it, so that an id does not reveal that another tenant has explained the same image.
    """
    canonical = json.dumps(request.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{tenant}\n{image_sha256}\n{canonical}".encode()).hexdigest()[:32]


def failure_of(record: ExplanationRecord | None) -> RiseError | None:
    """Return why an explanation will never have a result; None where it has one, or may have one later."""
    if record is None:
        return RiseError("expired", "the explanation is gone")
    if not record.status.ended or record.is_answered:
        return None
    if record.error is not None:
        return reported_error(record.error.code, record.error.detail)
    return RiseError("model-failed", f"the explanation was {record.status.value}")


@dataclass(frozen=True)
class ExplanationService:
    """Creates explanations and waits for them, for the HTTP API, batches and integrations alike.

    Attributes:
        images: reads images by URL and by id.
        validator: validates them.
        store: the records.
        async_redis: the same server, for status reads.
        blobs: where images are stored.
        jobs: the queues.
        creator: stores new explanations together with their jobs.
        admission: refuses requests for which there is no room.
        throughput: what work is estimated with.
        events: announce the end of explanations.
        subscriptions: the callbacks.
        keep_seconds: how long an explanation is kept.
    """

    images: ImageSourceResolver
    validator: ImageValidator
    store: ExplanationStore
    async_redis: AsyncRedis
    blobs: BlobStore
    jobs: JobQueue
    creator: ExplanationCreator
    admission: AdmissionController
    throughput: ThroughputStats
    events: EventStreams
    subscriptions: WebhookSubscriptions
    keep_seconds: int

    async def submit(self, command: SubmitCommand, image: ImageSource) -> SubmitResult:
        """Return the explanation of an image: the one that exists already, or a new one on the queue.

        Raises:
            RiseError: what `ImageSourceResolver.content` raises; `busy` or `too-many-requests`, before the image is
                decoded; what is wrong with the image.
        """
        content = await self.images.content(command.principal.tenant, image)
        explanation_id, existing = await run_in_threadpool(self._find, command, content)
        if existing is None:
            result = await self._create(explanation_id, command, content)
        else:
            result = SubmitResult(existing, created=False)
        if command.callback_url is not None:
            await run_in_threadpool(self.subscriptions.register, explanation_id, command.callback_url)
        if command.audit:
            audit = await self.audit(result.record, command.resolved, command.principal, command.callback_url)
            return result._replace(audit=audit.record)
        return result

    async def audit(
        self,
        explanation: ExplanationRecord,
        resolved: ResolvedRequest,
        principal: Principal,
        callback_url: str | None = None,
    ) -> SubmitResult:
        """Return the audit of an explanation: the one that exists already, or a new one on the queue.

        Args:
            explanation: what is audited; its request can be (`require_auditable`).
            resolved: its request, with the queue of the workers that serve its model.
            principal: who asks.
            callback_url: is notified of the end; None for no callback.

        Raises:
            RiseError: `busy` or `too-many-requests`.
        """
        audit = await run_in_threadpool(self.store.read, audit_id(explanation.id))
        if audit is not None and audit.status in _REUSABLE:
            result = SubmitResult(audit, created=False)
        else:
            result = await self._create_audit(explanation, resolved, principal)
        await run_in_threadpool(
            partial(self.store.renew, [explanation.id], audited=True)
        )  # it lasts as long as its audit
        if callback_url is not None:
            await run_in_threadpool(self.subscriptions.register, result.record.id, callback_url)
        return result

    async def read_raw(self, explanation_id: str) -> tuple[RawRecord, RawRecord]:
        """Return an explanation and its audit as they are stored, on the event loop: most requests are status reads."""
        return await read_raw(self.async_redis, explanation_id)

    async def wait(self, explanation_id: str, *, seconds: float) -> ExplanationRecord | None:
        """Return an explanation when it has ended, or as it is after `seconds`; None if it does not exist."""
        after = await self.events.last_event_id(explanation_id)
        record = await run_in_threadpool(self.store.read, explanation_id)
        if record is None or record.status.ended or seconds <= 0:
            return record
        await self.events.wait_for_end(explanation_id, after=after, seconds=seconds)
        return await run_in_threadpool(self.store.read, explanation_id)

    def _find(self, command: SubmitCommand, content: bytes) -> tuple[str, ExplanationRecord | None]:
        """Return the id of the explanation, and its record where it need not be run again."""
        sha256 = hashlib.sha256(content).hexdigest()
        explanation_id = fingerprint(command.resolved.request, sha256, command.principal.tenant)
        record = self.store.read(explanation_id)
        if record is None or record.status not in _REUSABLE:
            return explanation_id, None
        if record.status is Status.QUEUED:  # because its job may be lost, or in the lane of batches
            prioritised = record.model_copy(update={"priority": command.priority})
            tags = scheduling_tags_of(prioritised, self.throughput.seconds_per_mask())
            self.jobs.enqueue_explanation(command.resolved.queue, explanation_id, again=False, tags=tags)
        return explanation_id, record

    async def _create(self, explanation_id: str, command: SubmitCommand, content: bytes) -> SubmitResult:
        queue, workers = command.resolved.queue, command.resolved.workers
        async with self.admission.admit(explanation_id, command.principal, queue=queue, workers=workers) as slot:
            image = (await self.validator.validate(content)).info
            check_boxes(command.resolved.request, image)
            record = self._record(explanation_id, command, image)
            tags = scheduling_tags_of(record, slot.service_times)
            created, position = await run_in_threadpool(self._store, record, content, queue, tags)
        if not created:
            stored = await run_in_threadpool(self.store.read, explanation_id)
            return SubmitResult(stored or record, created=False)
        eta_seconds = slot.enqueued(position, seconds=tags.seconds)
        if eta_seconds is None:
            return SubmitResult(record, created=True)
        return SubmitResult(record, created=True, queue_position=position, eta_seconds=eta_seconds)

    async def _create_audit(
        self, explanation: ExplanationRecord, resolved: ResolvedRequest, principal: Principal
    ) -> SubmitResult:
        record = self._audit_record(explanation)
        queue, workers = resolved.queue, resolved.workers
        async with self.admission.admit(record.id, principal, queue=queue, workers=workers) as slot:
            tags = scheduling_tags_of(record, slot.service_times)
            content = await run_in_threadpool(self.blobs.get, image_blob(explanation.id))
            created, position = await run_in_threadpool(self._store, record, content, queue, tags)
        slot.enqueued(position, seconds=tags.seconds)
        return SubmitResult(record, created)

    def _audit_record(self, explanation: ExplanationRecord) -> ExplanationRecord:
        now, passes = datetime.now(UTC), most_passes(explanation)
        return ExplanationRecord(
            id=audit_id(explanation.id),
            tenant=explanation.tenant,
            priority=explanation.priority,
            request=explanation.request,
            image=explanation.image,
            status=Status.QUEUED,
            created_at=now,
            origin=request_context(),
            expires_at=now + timedelta(seconds=self.keep_seconds),
            progress=None if passes is None else Progress(masks=0, total=passes),
        )

    def _record(self, explanation_id: str, command: SubmitCommand, image: ImageInfo) -> ExplanationRecord:
        now = datetime.now(UTC)
        return ExplanationRecord(
            id=explanation_id,
            tenant=command.principal.tenant,
            priority=command.priority,
            request=command.resolved.request,
            image=image,
            status=Status.QUEUED,
            created_at=now,
            origin=request_context(),
            expires_at=now + timedelta(seconds=self.keep_seconds),
        )

    def _store(
        self, record: ExplanationRecord, content: bytes, queue: str, tags: SchedulingTags
    ) -> tuple[bool, int | None]:
        """Store the image, then create the explanation: a job always finds its image."""
        self.blobs.put(image_blob(record.id), content)
        return self.creator.create(record, queue, tags)
