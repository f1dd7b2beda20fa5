"""Cancels and removes explanations."""

from dataclasses import dataclass

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
        """Cancel an explanation that has not ended."""
        if self.store.cancel(explanation_id):
            self.jobs.remove(explanation_id)

    def delete(self, explanation_id: str) -> None:
        """Remove an explanation and everything that belongs to it; a worker that runs it stops.

        The record is deleted last: a new request for the same explanation stores its image after that, and nothing
        deletes it. What a worker still writes is collected as garbage.
        """
        self.blobs.discard(explanation_prefix(explanation_id))
        self.expiry.delete(explanation_id)
        self.jobs.remove(explanation_id)
