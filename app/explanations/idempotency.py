"""A request that a client may send again because it does not know whether it arrived: same key, same answer."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool

from app.api.request_body import ParsedBody
from app.contract.errors import RiseError
from app.contract.explanations.store import ExplanationStore
from app.explanations.idempotency_keys import IdempotencyKeys
from app.explanations.service import SubmitResult


@dataclass(frozen=True)
class Claim:
    """A key of a tenant, and where it is remembered."""

    keys: IdempotencyKeys
    store: ExplanationStore
    tenant: str
    key: str


def payload_of(body: ParsedBody) -> str:
    """Return the hash of what a request says: its fields, and its image or where that is to be found."""
    image = hashlib.sha256(body.image).hexdigest() if isinstance(body.image, bytes) else repr(body.image)
    fields = json.dumps(body.fields, sort_keys=True)
    return hashlib.sha256(f"{image}\n{fields}".encode()).hexdigest()


async def submit_once(claim: Claim, body: ParsedBody, *, submit: Callable[[], Awaitable[SubmitResult]]) -> SubmitResult:
    """Submit a request, or return the explanation that came of it when it was sent before.

    What came of it may have failed or been cancelled: it is returned as it is, and not run again. Refusals are not
    remembered, and neither is what has been deleted: both are tried again.

    Raises:
        RiseError: `idempotency-key-reused` if the key came with another request before; and what `submit` raises.
    """
    payload = payload_of(body)
    explanation_id = await run_in_threadpool(claim.keys.claim, claim.tenant, claim.key, payload)
    if explanation_id is None:
        raise RiseError("idempotency-key-reused", "this Idempotency-Key came with another request before")
    record = await run_in_threadpool(claim.store.read, explanation_id) if explanation_id else None
    if record is not None:
        return SubmitResult(record, created=True)
    try:
        submitted = await submit()
    except BaseException:
        await run_in_threadpool(claim.keys.release, claim.tenant, claim.key)
        raise
    await run_in_threadpool(claim.keys.settle, claim.tenant, claim.key, payload, submitted.record.id)
    return submitted
