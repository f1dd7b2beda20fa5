"""Removes the blobs of explanations that are gone."""

import time
from datetime import UTC, datetime
from functools import partial

from app.contract.redis.keys import batch_key, record_key, upload_key
from app.contract.redis.leases import Leases
from app.contract.storage.object_store import (
    BATCHES,
    EXPLANATIONS,
    IMAGES,
    PREDICTIONS,
    BlobStore,
    explanation_prefix,
    owner_id,
)
from app.explanations.expiry_index import ExpiryIndex
from app.maintenance.periodic import PeriodicTask, exclusive

_YOUNG_SECONDS = 30.0  # a blob as young may belong to the same explanation asked for again: its record comes after it
_WRITTEN_SECONDS = 600.0  # whoever has not written for as long was killed while writing
_LOOK_AGAIN_SECONDS = 60.0
_AT_ONCE = 100
_HOUR = 3600.0
_KEYS = {EXPLANATIONS: record_key, IMAGES: upload_key, BATCHES: batch_key}


class GarbageCollector:
    """Removes what is due, and now and then everything that nothing refers to.

    Args:
        expiry: says what is gone.
        blobs: where to sweep.
        keep_seconds: how long an explanation lives after its last change.
    """

    def __init__(self, expiry: ExpiryIndex, blobs: BlobStore, *, keep_seconds: float) -> None:
        self._expiry = expiry
        self._blobs = blobs
        self._keep_seconds = keep_seconds

    def tasks(self, leases: Leases, *, interval_seconds: float) -> list[PeriodicTask]:
        """Return the periodic tasks, of each of which one process at a time has a run."""
        due = partial(exclusive, leases, "due", lambda: self.sweep_due(now=time.time()))
        orphans = partial(exclusive, leases, "orphans", lambda: self.sweep_orphans(now=time.time()))
        rarely = max(interval_seconds, min(_HOUR, self._keep_seconds))
        return [
            # A lease is a little shorter than the interval, so that the one process of a small service gets every one.
            PeriodicTask("sweep_due_blobs", due(seconds=0.9 * interval_seconds), interval_seconds),
            PeriodicTask("sweep_orphaned_blobs", orphans(seconds=rarely), interval_seconds),
        ]

    def sweep_due(self, *, now: float) -> None:
        """Remove the blobs of explanations that have expired or were deleted; others are put off.

        Args:
            now: seconds since 1970.
        """
        while due := self._expiry.due(now=now, limit=_AT_ONCE):
            living = self._expiry.existing(due)
            for explanation_id in due:
                gone = explanation_id not in living and self._emptied(explanation_prefix(explanation_id), now)
                if not (gone and self._expiry.purge(explanation_id)):
                    self._expiry.reschedule(explanation_id, now + _LOOK_AGAIN_SECONDS)

    def _emptied(self, folder: str, now: float) -> bool:
        young = min(_YOUNG_SECONDS, self._keep_seconds)
        self._blobs.delete(self._blobs.names(folder, before=_moment(now - young)))
        return not self._blobs.names(folder)

    def sweep_orphans(self, *, now: float) -> None:
        """Remove blobs that no record refers to and that are older than any record can be without a change.

        They come from deleted explanations whose worker wrote late, from crashes between blob and record, and from a
        Redis server that has lost its data. Uploaded images and archives are swept in no other way.
        """
        old = _moment(now - self._keep_seconds)
        self._blobs.delete_unfinished(before=_moment(now - _WRITTEN_SECONDS))
        self._blobs.delete(self._blobs.names(PREDICTIONS, before=old))
        for folder, key_of in _KEYS.items():
            names = [name for name in self._blobs.names(folder, before=old) if name.count("/") > 1]
            living = self._expiry.existing_keys(sorted({owner_id(name) for name in names}), key_of)
            self._blobs.delete([name for name in names if owner_id(name) not in living])


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
