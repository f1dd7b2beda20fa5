"""Cancels and removes explanations."""

from dataclasses import dataclass

from app.contract.audits import audit_id
from app.contract.explanations.store import ExplanationStore
from app.contract.queue.jobs import JobQueue
from app.contract.storage.object_store import BlobStore, explanation_prefix
from app.explanations.expiry_index import ExpiryIndex


@dataclass(frozen=True)
class ExplanationRemover:
    """Cancels and removes explanations.

    Attributes:
        store: their records.
        blobs: their images and effects.
        jobs: their jobs.
        expiry: their tombstones and blobs that are due.
    """

    store: ExplanationStore
    blobs: BlobStore
    jobs: JobQueue
    expiry: ExpiryIndex

    def cancel(self, explanation_id: str) -> None:
        """Cancel an explanation that has not ended, and its audit likewise."""
        for record_id in (explanation_id, audit_id(explanation_id)):
            if self.store.cancel(record_id):
                self.jobs.remove(record_id)

    def delete(self, explanation_id: str) -> None:
        """Remove an explanation and everything that belongs to it, its audit too; a worker that runs it stops.

        The record is deleted last: a new request for the same explanation stores its image after that, and nothing
        deletes it. What a worker still writes is collected as garbage.
        """
        for record_id in (audit_id(explanation_id), explanation_id):
            self.blobs.discard(explanation_prefix(record_id))
            self.expiry.delete(record_id)
            self.jobs.remove(record_id)
