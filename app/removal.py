"""Stopping and removing explanations."""

from app.contract.blobs import folder_of
from app.dependencies import Services


def stop_explanation(services: Services, explanation_id: str) -> None:
    """Cancel an explanation that has not ended."""
    if services.store.cancel(explanation_id):
        services.jobs.remove(explanation_id)


def erase_explanation(services: Services, explanation_id: str) -> None:
    """Remove an explanation with everything that belongs to it, now; a worker that runs it stops."""
    services.expiry.delete(explanation_id)
    services.jobs.remove(explanation_id)
    services.blobs.discard(folder_of(explanation_id))
