"""Instances become explanations by the same submission as everything else, and are waited for together."""

import asyncio
import time
from collections.abc import Sequence

from starlette.concurrency import run_in_threadpool

from app.caller import Caller
from app.contract.errors import RiseError, wrong_field
from app.contract.schemas import JsonObject, Record, Request
from app.dependencies import Services, existing_record
from app.outbound.callbacks import take_callback
from app.submission import build_request, read_question

_OF_THE_IMAGE = {"unreadable-image", "image-too-large"}


async def submit_all(
    services: Services, caller: Caller, model: str, images: Sequence[bytes], parameters: JsonObject
) -> list[Record]:
    """Return an explanation for each image: the one that exists already, or a new one on the queue.

    Raises:
        RiseError: `not-found` for a model that no worker has; whatever is wrong with the parameters, or with an image.
    """
    if "model" in parameters:
        raise wrong_field("/parameters/model", "the address says it")
    fields = dict(parameters)
    callback = take_callback(fields, services.pictures.hosts, signed=services.signs_callbacks)
    question, rest = read_question({**fields, "model": model})
    catalogue = await run_in_threadpool(services.catalogue.now)
    request: Request = build_request(catalogue, question, rest)
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


async def wait_for_all(services: Services, caller: Caller, records: Sequence[Record], seconds: float) -> list[Record]:
    """Return explanations when all have ended, or as they are when the time is up."""
    deadline = time.monotonic() + seconds
    return [await _wait(services, caller, record, deadline) for record in records]


async def _wait(services: Services, caller: Caller, record: Record, deadline: float) -> Record:
    after = await services.events.position(record.id)
    record = await asyncio.to_thread(existing_record, services, caller, record.id)
    left = deadline - time.monotonic()
    if record.status.ended or left <= 0:
        return record
    await services.events.wait_for_end(record.id, after=after, seconds=left)
    return await asyncio.to_thread(existing_record, services, caller, record.id)
