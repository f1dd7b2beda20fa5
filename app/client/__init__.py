"""A typed client, for programs that want arrays and not HTTP.

    from app.client import Client

    with Client("http://127.0.0.1:8000") as client:
        saliency = client.explain("photo.png", model="shapes").wait().map  # [H, W], float32

`AsyncClient` is the same with `await`. Whatever the service refuses is a `ServiceError` with the problem's code.
"""

from app.client.asynchronous import AsyncClient, AsyncExplanation
from app.client.batches import AsyncBatch, Batch
from app.client.problems import ServiceError
from app.client.synchronous import Client, Explanation

__all__ = ["AsyncBatch", "AsyncClient", "AsyncExplanation", "Batch", "Client", "Explanation", "ServiceError"]
