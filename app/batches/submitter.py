"""Submits the members of open batches, a few at a time.

Every front end runs it; each batch is leased by one of them. Only a window of a batch's members is queued or running at
any moment, so that whoever asks for a single explanation never waits behind a thousand images, and a batch of a
thousand takes no more room in the queue than a small one. A member that fails is settled with its problem, and the
others go on; where the service is busy or no worker is there, members simply wait.
"""

import asyncio
import logging
import zipfile
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool

from app.auth.principal import Principal
from app.batches.store import BatchItem, BatchRecord, BatchStore
from app.batches.zip_reader import open_archive, read_entry
from app.contract.errors import BlobNotFoundError, RiseError
from app.contract.explanations.store import ExplanationStore
from app.contract.log_context import log_context, propagated_context
from app.contract.redis.leased_queue import Lease
from app.contract.redis.leases import Leases
from app.contract.schemas import Failure
from app.contract.settings import Settings
from app.contract.storage.object_store import BlobStore, archive_blob, batch_folder
from app.contract.tracing import span
from app.explanations.catalogue import CatalogueReader
from app.explanations.commands import SubmitCommand
from app.explanations.removal import ExplanationRemover
from app.explanations.service import ExplanationService, SubmitResult
from app.images.source import ById, ByUrl, ImageSource
from app.maintenance.periodic import PeriodicTask, consumer
from app.maintenance.served_models import ServedModels

logger = logging.getLogger(__name__)

WINDOW = 16  # explanations of one batch that are queued or running
_AT_ONCE = 8  # images of one batch that are fetched and decoded together
_BATCHES = 4
_LOOK_SECONDS = 0.2
_LEASE_SECONDS = 10.0
_UNEXPECTED = Failure(code="internal", detail="something went wrong with this image; the service's log says what")
_RENEWALS = 4  # of what has ended, in the time that an explanation is kept


class BatchContext(NamedTuple):
    """What one look at a batch may use: the batch, and its archive; None where it is not needed, or gone."""

    batch: BatchRecord
    archive: zipfile.ZipFile | None


@dataclass(frozen=True)
class BatchSubmitter:
    """Fills open batches with explanations.

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

    def task(self) -> PeriodicTask:
        """Return the background task that looks after open batches."""
        seconds = _LEASE_SECONDS + self.settings.fetch_seconds
        return consumer(
            "submit_batches",
            partial(self.batches.lease, seconds=seconds),
            self._tend,
            describe=lambda lease: f"batch {lease.id}",
            concurrency=_BATCHES,
            interval_seconds=_LOOK_SECONDS,
        )

    async def _tend(self, lease: Lease) -> None:
        """Take one look at a batch, and say when to look again."""
        batch_id = lease.id
        pause = await self._advance(batch_id)
        if pause is None:
            await run_in_threadpool(self._finish, batch_id)
        else:
            await run_in_threadpool(self._renew_at_times, batch_id)
            await run_in_threadpool(self.batches.release, lease, seconds=max(pause, _LOOK_SECONDS))

    async def _advance(self, batch_id: str) -> float | None:
        """Submit what there is room for; return seconds to wait until the next look, None where all have ended."""
        batches = self.batches
        batch = await run_in_threadpool(batches.read, batch_id)
        under_way = await run_in_threadpool(batches.remove_ended, batch_id)
        members = await run_in_threadpool(batches.waiting, batch_id, min(WINDOW - under_way, _AT_ONCE))
        if batch is None or (not members and not under_way):
            return None
        archive = None
        if any(member.kind == "entry" for member in members):
            archive = await run_in_threadpool(self._archive, batch_id)
        pauses = await asyncio.gather(*(self._settle(BatchContext(batch, archive), member) for member in members))
        return max(pauses, default=0.0)

    def _archive(self, batch_id: str) -> zipfile.ZipFile | None:
        try:
            return open_archive(self.blobs.open(archive_blob(batch_id)))
        except BlobNotFoundError:
            return None

    def _renew_at_times(self, batch_id: str) -> None:
        """Keep the first explanations of a long batch until its last one has ended."""
        seconds = self.settings.keep_seconds / _RENEWALS
        if self.leases.try_acquire(f"renew:{batch_id}", seconds=seconds):
            self._renew(batch_id)

    def _renew(self, batch_id: str) -> None:
        batch = self.batches.read(batch_id)
        members = self.batches.members(batch_id, range(batch.total)) if batch is not None else []
        self.store.renew([member.explanation for member in members if member.explanation is not None])

    def _finish(self, batch_id: str) -> None:
        self._renew(batch_id)
        self.batches.close(batch_id)
        self.blobs.discard(batch_folder(batch_id))

    async def _settle(self, now: BatchContext, member: BatchItem) -> float:
        """Submit one member and record what became of it; return the seconds that it has to wait."""
        origin = now.batch.origin
        with (
            log_context(**propagated_context(origin), batch=now.batch.id),
            span("submit", origin, image=str(member.index)),
        ):
            return await self._try(now, member)

    async def _try(self, now: BatchContext, member: BatchItem) -> float:
        try:
            catalogue = await run_in_threadpool(self.catalogue.now)
            resolved = catalogue.route(now.batch.request)  # which fails before an image is fetched for nothing
            command = SubmitCommand(resolved, principal_of(now.batch), "batch", now.batch.callback)
            submitted = await self.explanations.submit(command, await self._image(now, member))
            await run_in_threadpool(self._record, now.batch, member, submitted)
        except RiseError as error:
            if error.retry_after_seconds is not None and not await self._is_gone(error, now.batch):
                return error.retry_after_seconds
            await self._refuse(now.batch, member, Failure(code=error.code, detail=error.detail))
        except RedisError:  # because that is not the member's fault
            raise
        except Exception:  # because a member that nobody expected must not stand before the others for ever
            logger.exception("image %d of batch %s cannot be explained", member.index, now.batch.id)
            await self._refuse(now.batch, member, _UNEXPECTED)
        return 0.0

    async def _is_gone(self, error: RiseError, batch: BatchRecord) -> bool:
        """Return whether an error says that no worker serves a model, and none has for too long."""
        is_gone = partial(self.served.is_gone, batch.request.model.id, since=batch.created_at)
        return error.code == "no-worker" and await run_in_threadpool(is_gone)

    async def _refuse(self, batch: BatchRecord, member: BatchItem, failure: Failure) -> None:
        failed = member.model_copy(update={"error": failure})
        await run_in_threadpool(self.batches.settle, batch.id, failed)

    async def _image(self, now: BatchContext, member: BatchItem) -> ImageSource:
        field = f"/images/{member.index}/{member.kind}"
        if member.kind == "url":
            return ByUrl(member.source, field)
        if member.kind == "id":
            return ById(member.source, field)
        if now.archive is None:
            raise RiseError("expired", "the archive of this batch is gone")
        limit = self.settings.max_image_bytes
        return await run_in_threadpool(read_entry, now.archive, int(member.source), max_bytes=limit)

    def _record(self, batch: BatchRecord, member: BatchItem, submitted: SubmitResult) -> None:
        found = {"explanation": submitted.record.id, "created": submitted.created}
        still_wanted = self.batches.settle(batch.id, member.model_copy(update=found))
        if still_wanted or not submitted.created:
            return
        if self.batches.read(batch.id) is None:
            self.remover.delete(submitted.record.id)
        else:
            self.remover.cancel(submitted.record.id)


def principal_of(batch: BatchRecord) -> Principal:
    """Return on whose behalf a batch is filled."""
    return Principal(batch.tenant, frozenset({"explain"}), batch.key, batch.limits)
