"""A typed client of rise-serve, for programs that want arrays and not HTTP.

    from rise_client import Client

    with Client("http://127.0.0.1:8000") as client:
        saliency = client.explain("photo.png", model="shapes").wait().map  # [H, W], float32

`AsyncClient` is the same with `await`. Whatever the service refuses is a `ServiceError` with the problem's code.
"""

from rise_client.async_client import AsyncClient, AsyncExplanation
from rise_client.batches import AsyncBatch, Batch
from rise_client.errors import ServiceError
from rise_client.images import ImageInput
from rise_client.sync_client import Client, Explanation

__all__ = [
    "AsyncBatch",
    "AsyncClient",
    "AsyncExplanation",
    "Batch",
    "Client",
    "Explanation",
    "ImageInput",
    "ServiceError",
]
