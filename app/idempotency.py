"""A request that a client may send again because it does not know whether it arrived: same key, same answer."""

import hashlib
import json
from collections.abc import Callable

from app.bodies import Body
from app.contract.errors import RiseError
from app.contract.idempotency import IdempotencyKeys
from app.contract.store import Store
from app.submission import Submitted


def payload_of(body: Body) -> str:
    """Return the hash of what a request says, the image included."""
    fields = json.dumps(body.fields, sort_keys=True)
    return hashlib.sha256(f"{hashlib.sha256(body.image).hexdigest()}\n{fields}".encode()).hexdigest()


def submit_once(
    keys: IdempotencyKeys, store: Store, tenant: str, key: str, body: Body, *, submit: Callable[[], Submitted]
) -> Submitted:
    """Submit a request, or return the explanation that came of it when it was sent before.

    What came of it may have failed or been cancelled: it is returned as it is, and not run again. Refusals are not
    remembered, and neither is what has been deleted: both are tried again.

    Raises:
        RiseError: `idempotency-key-reused` if the key came with another request before; and what `submit` raises.
    """
    payload = payload_of(body)
    explanation_id = keys.claim(tenant, key, payload)
    if explanation_id is None:
        raise RiseError("idempotency-key-reused", "this Idempotency-Key came with another request before")
    record = store.read(explanation_id) if explanation_id else None
    if record is not None:
        return Submitted(record, created=True)
    try:
        submitted = submit()
    except BaseException:
        keys.release(tenant, key)
        raise
    keys.settle(tenant, key, payload, submitted.record.id)
    return submitted
