"""Instances become explanations by the same submission as everything else, and are waited for together."""

import asyncio
import time
from collections.abc import Sequence

from starlette.concurrency import run_in_threadpool

from app.api.dependencies import existing_record
from app.auth.principal import Principal
from app.contract.errors import RiseError, invalid_field
from app.contract.schemas import CanonicalRequest, ExplanationRecord, JsonObject
from app.explanations.service import build_request, split_params
from app.services import Services
from app.webhooks.request_field import pop_callback_url

_OF_THE_IMAGE = {"unreadable-image", "image-too-large"}


async def submit_all(
    services: Services, caller: Principal, model: str, images: Sequence[bytes], parameters: JsonObject
) -> list[ExplanationRecord]:
    """Return an explanation for each image: the one that exists already, or a new one on the queue.

    Raises:
        RiseError: `not-found` for a model that no worker has; whatever is wrong with the parameters, or with an image.
    """
    if "model" in parameters:
        raise invalid_field("/parameters/model", "the address says it")
    fields = dict(parameters)
    callback = pop_callback_url(fields, services.pictures.hosts, signed=services.signs_callbacks)
    question, rest = split_params({**fields, "model": model})
    catalogue = await run_in_threadpool(services.catalogue.now)
    request: CanonicalRequest = build_request(catalogue, question, rest)
    records = []
    for place, image in enumerate(images):
        try:
            record = (await services.submission.submit(catalogue, request, image, caller, question.priority)).record
        except RiseError as error:
            if error.code not in _OF_THE_IMAGE:
                raise
            raise error.reworded(f"instances/{place}: {error.detail}") from error
        if callback is not None:
            await run_in_threadpool(services.callbacks.register, record.id, callback)
        records.append(record)
    return records


async def wait_for_all(
    services: Services, caller: Principal, records: Sequence[ExplanationRecord], seconds: float
) -> list[ExplanationRecord]:
    """Return explanations when all have ended, or as they are when the time is up."""
    deadline = time.monotonic() + seconds
    return [await _wait(services, caller, record, deadline) for record in records]


async def _wait(services: Services, caller: Principal, record: ExplanationRecord, deadline: float) -> ExplanationRecord:
    after = await services.events.position(record.id)
    record = await asyncio.to_thread(existing_record, services, caller, record.id)
    left = deadline - time.monotonic()
    if record.status.ended or left <= 0:
        return record
    await services.events.wait_for_end(record.id, after=after, seconds=left)
    return await asyncio.to_thread(existing_record, services, caller, record.id)
