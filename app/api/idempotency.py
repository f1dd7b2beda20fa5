"""The `Idempotency-Key` header: a request that is sent again with the same key is processed once."""

import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
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
    """An idempotency key of a tenant for one request.

    Attributes:
        keys: store of the keys.
        tenant: of the caller.
        key: the key.
        payload: hash of the request.
    """

    keys: IdempotencyKeys
    tenant: str
    key: str
    payload: str

    @property
    def resource_id(self) -> str:
        """Id of the resource that the request creates, the same each time the request is sent."""
        return hashlib.sha256(f"{self.tenant}\n{self.key}\n{self.payload}".encode()).hexdigest()[:32]


def payload_of(body: ParsedBody) -> str:
    """Return the hash of a request: its fields, and its image, URL or upload id."""
    image = hashlib.sha256(body.image).hexdigest() if isinstance(body.image, bytes) else repr(body.image)
    return _hash(image, body.fields)


def payload_of_batch(fields: JsonObject, files: Sequence[IO[bytes] | None]) -> str:
    """Return the hash of a request for a batch: its fields, and its files, which are read."""
    digests = [_digest(file) for file in files if file is not None]
    return _hash(" ".join(["batch", *digests]), fields)


def _digest(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    for part in iter(partial(file.read, _READ_BYTES), b""):
        digest.update(part)
    file.seek(0)
    return digest.hexdigest()


def _hash(file: str, fields: JsonObject) -> str:
    return hashlib.sha256(f"{file}\n{json.dumps(fields, sort_keys=True)}".encode()).hexdigest()


async def submit_once(
    claim: Claim,
    *,
    find: Callable[[str], Awaitable[Result | None]],
    submit: Callable[[], Awaitable[Result]],
    id_of: Callable[[Result], str],
) -> Result:
    """Submit a request, or return its result if it was sent before.

    A result that failed or was cancelled is returned as it is, and not computed again. Refused requests and deleted
    results are not stored: they are submitted again.

    Args:
        claim: the key.
        find: returns the result of an id.
        submit: processes the request.
        id_of: returns the id of a result.

    Raises:
        RiseError: `idempotency-key-reused` if the key was used for another request; and what `submit` raises.
    """
    known = await run_in_threadpool(claim.keys.claim, claim.tenant, claim.key, claim.payload)
    if known is None:
        raise RiseError("idempotency-key-reused", "this Idempotency-Key came with another request before")
    found = await find(known) if known else None
    if found is not None:
        return found
    try:
        result = await submit()
    except BaseException:
        await run_in_threadpool(claim.keys.release, claim.tenant, claim.key)
        raise
    await run_in_threadpool(claim.keys.settle, claim.tenant, claim.key, claim.payload, id_of(result))
    return result
