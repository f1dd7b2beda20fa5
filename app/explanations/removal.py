"""Stopping and removing explanations."""

from app.api.dependencies import Services
from app.contract.storage.object_store import explanation_prefix


def cancel_explanation(services: Services, explanation_id: str) -> None:
    """Cancel an explanation that has not ended."""
    if services.store.cancel(explanation_id):
        services.jobs.remove(explanation_id)


def delete_explanation(services: Services, explanation_id: str) -> None:
    """Remove an explanation with everything that belongs to it, now; a worker that runs it stops.

    The record goes last: whoever asks for the same explanation once it is gone stores its image anew, and nobody takes
    that away any more. What a worker writes meanwhile is swept.
    """
    services.blobs.discard(explanation_prefix(explanation_id))
    services.expiry.delete(explanation_id)
    services.jobs.remove(explanation_id)
