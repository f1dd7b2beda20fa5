"""Submits the items of open batches, a few at a time.

Every front end runs it; each batch is leased by one of them. At most 16 items of a batch are queued or running at any
moment, so that a single explanation does not wait behind a large batch, and a batch of a thousand images takes no more
of the queue than a small one. An item that fails is recorded with its error, and the others continue; while the service
is busy or no worker serves the model, items wait.
"""

import asyncio
import logging
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool

from app.auth.principal import Principal
from app.batches.store import BatchItem, BatchRecord, BatchStore
from app.batches.surveys import Surveys
from app.batches.zip_reader import open_archive, read_entry
from app.contract.errors import BlobNotFoundError, RiseError
from app.contract.explanations.store import ExplanationStore
from app.contract.log_context import log_context, propagated_context
from app.contract.redis.leased_queue import Lease
from app.contract.redis.leases import Leases
from app.contract.schemas import Box, CanonicalRequest, Failure, TargetSpec
from app.contract.settings import Settings
from app.contract.storage.object_store import BlobStore, archive_blob
from app.contract.tracing import span
from app.explanations.catalogue import CatalogueReader
from app.explanations.commands import SubmitCommand
from app.explanations.removal import ExplanationRemover
from app.explanations.service import ExplanationService, SubmitResult
from app.images.source import ById, ByUrl, ImageSource
from app.maintenance.last_served import ServedModels
from app.maintenance.periodic import PeriodicTask, consumer

logger = logging.getLogger(__name__)

WINDOW = 16  # explanations of one batch that are queued or running
_CONCURRENCY = 8  # images of one batch that are fetched and decoded together
_BATCHES = 4
_POLL_SECONDS = 0.2
_LEASE_SECONDS = 10.0
_UNEXPECTED = Failure(code="internal", detail="something went wrong with this image; the service's log says what")
_SURVEY_SECONDS = 5.0  # between two looks at an annotated batch
_RENEWALS = 4  # of ended explanations, in the time that they are kept


class BatchContext(NamedTuple):
    """A batch and its archive; None if that is gone or not needed."""

    batch: BatchRecord
    archive: zipfile.ZipFile | None


@dataclass(frozen=True)
class BatchSubmitter:
    """Submits the items of open batches.

    Attributes:
        settings: the limits.
        batches: the open batches.
        blobs: their archives.
        store: their explanations.
        catalogue: which queue serves a model.
        served: when models were last served.
        explanations: creates explanations.
        remover: removes what a batch that was deleted meanwhile has made.
        leases: who renews the explanations of a batch.
        surveys: measures what has ended of annotated batches.
    """

    settings: Settings
    batches: BatchStore
    blobs: BlobStore
    store: ExplanationStore
    catalogue: CatalogueReader
    served: ServedModels
    explanations: ExplanationService
    remover: ExplanationRemover
    leases: Leases
    surveys: Surveys

    def task(self) -> PeriodicTask:
        """Return the background task that submits items."""
        seconds = _LEASE_SECONDS + self.settings.fetch_seconds
        return consumer(
            "submit_batches",
            partial(self.batches.lease, seconds=seconds),
            self._process,
            describe=lambda lease: f"batch {lease.id}",
            concurrency=_BATCHES,
            interval_seconds=_POLL_SECONDS,
        )

    async def _process(self, lease: Lease) -> None:
        """Submit items of a leased batch, and release or close it."""
        batch_id = lease.id
        pause = await self._advance(batch_id)
        if pause is None:
            await run_in_threadpool(self._finish, batch_id)
        else:
            await run_in_threadpool(self._renew_if_due, batch_id)
            await run_in_threadpool(self._survey_if_due, batch_id)
            await run_in_threadpool(self.batches.release, lease, seconds=max(pause, _POLL_SECONDS))

    async def _advance(self, batch_id: str) -> float | None:
        """Submit the items that fit into the window; return the pause in seconds, None if all have ended."""
        batches = self.batches
        batch = await run_in_threadpool(batches.read, batch_id)
        in_flight = await run_in_threadpool(batches.remove_ended, batch_id)
        items = await run_in_threadpool(batches.waiting, batch_id, min(WINDOW - in_flight, _CONCURRENCY))
        if batch is None or (not items and not in_flight):
            return None
        archive = None
        if any(item.kind == "entry" for item in items):
            archive = await run_in_threadpool(self._archive, batch_id)
        pauses = await asyncio.gather(*(self._submit_item(BatchContext(batch, archive), item) for item in items))
        return max(pauses, default=0.0)

    def _archive(self, batch_id: str) -> zipfile.ZipFile | None:
        try:
            return open_archive(self.blobs.open(archive_blob(batch_id)))
        except BlobNotFoundError:
            return None

    def _renew_if_due(self, batch_id: str) -> None:
        """Postpone the expiry of a long batch's first explanations until its last one has ended."""
        seconds = self.settings.keep_seconds / _RENEWALS
        if self.leases.try_acquire(f"renew:{batch_id}", seconds=seconds):
            self._renew(batch_id)

    def _survey_if_due(self, batch_id: str) -> None:
        """Let workers measure the images of an annotated batch that have ended, while others are explained."""
        batch = self.batches.read(batch_id)
        if batch is None or batch.annotations is None:
            return
        if self.leases.try_acquire(f"survey:{batch_id}", seconds=_SURVEY_SECONDS):
            with suppress(RiseError):  # because whoever reads the report gets it
                self.surveys.advance(batch)

    def _renew(self, batch_id: str) -> None:
        batch = self.batches.read(batch_id)
        items = self.batches.members(batch_id, range(batch.total)) if batch is not None else []
        self.store.renew([item.explanation for item in items if item.explanation is not None])

    def _finish(self, batch_id: str) -> None:
        self._renew(batch_id)
        self.batches.close(batch_id)
        self.blobs.discard(archive_blob(batch_id))

    async def _submit_item(self, context: BatchContext, item: BatchItem) -> float:
        """Submit an item and record the outcome; return the pause in seconds before a retry."""
        origin = context.batch.origin
        with (
            log_context(**propagated_context(origin), batch=context.batch.id),
            span("submit", origin, image=str(item.index)),
        ):
            return await self._try(context, item)

    async def _try(self, context: BatchContext, item: BatchItem) -> float:
        try:
            catalogue = await run_in_threadpool(self.catalogue.now)
            resolved = catalogue.route(request_of(context.batch, item))  # first, because it may raise
            command = SubmitCommand(
                resolved, principal_of(context.batch), "batch", context.batch.callback, context.batch.audit
            )
            submitted = await self.explanations.submit(command, await self._image(context, item))
            await run_in_threadpool(self._record, context.batch, item, submitted)
        except RiseError as error:
            if error.retry_after_seconds is not None and not await self._is_gone(error, context.batch):
                return error.retry_after_seconds
            await self._refuse(context.batch, item, Failure(code=error.code, detail=error.detail))
        except RedisError:  # because it is no error of the item
            raise
        except Exception:  # because an unexpected error of an item must not block the others
            logger.exception("image %d of batch %s cannot be explained", item.index, context.batch.id)
            await self._refuse(context.batch, item, _UNEXPECTED)
        return 0.0

    async def _is_gone(self, error: RiseError, batch: BatchRecord) -> bool:
        """Return whether no worker has served the model for longer than `queue_ttl_seconds`."""
        is_gone = partial(self.served.is_gone, batch.request.model.id, since=batch.created_at)
        return error.code == "no-worker" and await run_in_threadpool(is_gone)

    async def _refuse(self, batch: BatchRecord, item: BatchItem, failure: Failure) -> None:
        failed = item.model_copy(update={"error": failure})
        await run_in_threadpool(self.batches.settle, batch.id, failed)

    async def _image(self, context: BatchContext, item: BatchItem) -> ImageSource:
        field = f"/images/{item.index}/{item.kind}"
        if item.kind == "url":
            return ByUrl(item.source, field)
        if item.kind == "id":
            return ById(item.source, field)
        if context.archive is None:
            raise RiseError("expired", "the archive of this batch is gone")
        limit = self.settings.max_image_bytes
        return await run_in_threadpool(read_entry, context.archive, int(item.source), max_bytes=limit)

    def _record(self, batch: BatchRecord, item: BatchItem, submitted: SubmitResult) -> None:
        found = {"explanation": submitted.record.id, "created": submitted.created}
        still_wanted = self.batches.settle(batch.id, item.model_copy(update=found))
        if still_wanted or not submitted.created:
            return
        if self.batches.read(batch.id) is None:
            self.remover.delete(submitted.record.id)
        else:
            self.remover.cancel(submitted.record.id)


def request_of(batch: BatchRecord, item: BatchItem) -> CanonicalRequest:
    """Return the request for one image of a batch."""
    if item.labels is None:
        return batch.request
    boxes: Sequence[Box | None] = item.boxes or [None] * len(item.labels)
    targets = [TargetSpec(label=label, box=box) for label, box in zip(item.labels, boxes, strict=True)]
    return batch.request.model_copy(update={"targets": targets})


def principal_of(batch: BatchRecord) -> Principal:
    """Return the principal that created a batch."""
    return Principal(batch.tenant, frozenset({"explain"}), batch.key, batch.limits)
