"""Instances of a request to explanations, which are awaited together."""

import time
from collections.abc import Sequence

from starlette.concurrency import run_in_threadpool

from app.api.dependencies import wait_for_record
from app.auth.principal import Principal
from app.contract.errors import RiseError, invalid_field
from app.contract.schemas import ExplanationRecord, JsonObject
from app.services import Services

_IMAGE_ERRORS = {"unreadable-image", "image-too-large"}


async def submit_all(
    services: Services, caller: Principal, model: str, images: Sequence[bytes], parameters: JsonObject
) -> list[ExplanationRecord]:
    """Return an explanation for each image: the one that exists already, or a new one on the queue.

    Raises:
        RiseError: `not-found` for a model that no worker has; whatever is wrong with the parameters, or with an image.
    """
    if "model" in parameters:
        raise invalid_field("/parameters/model", "the address says it")
    command = await run_in_threadpool(services.commands.read, {**parameters, "model": model}, caller)
    records = []
    for index, image in enumerate(images):
        try:
            records.append((await services.explanations.submit(command, image)).record)
        except RiseError as error:
            if error.code not in _IMAGE_ERRORS:
                raise
            raise error.reworded(f"instances/{index}: {error.detail}") from error
    return records


async def wait_for_all(
    services: Services, caller: Principal, records: Sequence[ExplanationRecord], seconds: float
) -> list[ExplanationRecord]:
    """Return explanations when all have ended, or as they are when the time is up."""
    deadline = time.monotonic() + seconds
    return [
        await wait_for_record(services, caller, record.id, seconds=max(0.0, deadline - time.monotonic()))
        for record in records
    ]
