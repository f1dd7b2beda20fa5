"""A request that a client may send again because it does not know whether it arrived: same key, same answer."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import IO, Annotated, TypeVar

from fastapi import Header
from starlette.concurrency import run_in_threadpool

from app.api.request_body import ParsedBody
from app.contract.errors import RiseError
from app.contract.schemas import JsonObject
from app.explanations.idempotency_keys import IdempotencyKeys

Result = TypeVar("Result")

IdempotencyKey = Annotated[
    str | None, Header(min_length=1, max_length=255, description="Same key and same request, same answer (24 h).")
]

_READ_BYTES = 1_000_000


@dataclass(frozen=True)
class Claim:
    """A key of a tenant for one request, and where that is remembered.

    Attributes:
        keys: where.
        tenant: whose key it is.
        key: the key.
        payload: hash of what the request says.
    """

    keys: IdempotencyKeys
    tenant: str
    key: str
    payload: str

    @property
    def resource_id(self) -> str:
        """Id for what the request makes, where that has no id of its own: the same, however often it is sent."""
        return hashlib.sha256(f"{self.tenant}\n{self.key}\n{self.payload}".encode()).hexdigest()[:32]


def payload_of(body: ParsedBody) -> str:
    """Return the hash of what a request says: its fields, and its image or where that is to be found."""
    image = hashlib.sha256(body.image).hexdigest() if isinstance(body.image, bytes) else repr(body.image)
    return _hash(image, body.fields)


def payload_of_batch(fields: JsonObject, archive: IO[bytes] | None) -> str:
    """Return the hash of what a request for a batch says: its fields, and its archive, which is read."""
    if archive is None:
        return _hash("batch", fields)
    digest = hashlib.sha256()
    archive.seek(0)
    for part in iter(partial(archive.read, _READ_BYTES), b""):
        digest.update(part)
    archive.seek(0)
    return _hash(f"batch {digest.hexdigest()}", fields)


def _hash(file: str, fields: JsonObject) -> str:
    return hashlib.sha256(f"{file}\n{json.dumps(fields, sort_keys=True)}".encode()).hexdigest()


async def submit_once(
    claim: Claim,
    *,
    find: Callable[[str], Awaitable[Result | None]],
    submit: Callable[[], Awaitable[Result]],
    id_of: Callable[[Result], str],
) -> Result:
    """Submit a request, or return what came of it when it was sent before.

    What came of it may have failed or been cancelled: it is returned as it is, and not run again. Refusals are not
    remembered, and neither is what has been deleted: both are tried again.

    Args:
        claim: the key.
        find: returns what is there under an id.
        submit: does what the request asks for.
        id_of: returns the id of what came of it.

    Raises:
        RiseError: `idempotency-key-reused` if the key came with another request before; and what `submit` raises.
    """
    known = await run_in_threadpool(claim.keys.claim, claim.tenant, claim.key, claim.payload)
    if known is None:
        raise RiseError("idempotency-key-reused", "this Idempotency-Key came with another request before")
    found = await find(known) if known else None
    if found is not None:
        return found
    try:
        made = await submit()
    except BaseException:
        await run_in_threadpool(claim.keys.release, claim.tenant, claim.key)
        raise
    await run_in_threadpool(claim.keys.settle, claim.tenant, claim.key, claim.payload, id_of(made))
    return made
