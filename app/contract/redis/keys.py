"""Every key of this service in Redis, with its type. RQ's own keys are those of `app/contract/queue/rq_compat.py`."""

import hashlib

# Explanations.

DUE = "rise:due"
"""Sorted set: explanations by the time (in seconds) from which their blobs may be swept, if they are gone by then."""

OUTBOX = "rise:outbox"
"""Sorted set: webhook deliveries, `explanation/delivery`, by the time (in seconds) when they are due."""


def record_key(explanation_id: str) -> str:
    """Return the key of an explanation's hash; each field is JSON."""
    return f"rise:explanation:{explanation_id}"


def events_key(explanation_id: str) -> str:
    """Return the key of an explanation's event stream, and of the channel of its notifications."""
    return f"rise:events:{explanation_id}"


def tombstone_key(explanation_id: str) -> str:
    """Return the key of the text that says for a while whose an expired explanation was."""
    return f"rise:tombstone:{explanation_id}"


def webhooks_key(explanation_id: str) -> str:
    """Return the key of the hash of an explanation's webhook deliveries: id -> JSON."""
    return f"rise:callbacks:{explanation_id}"


def shards_key(explanation_id: str) -> str:
    """Return the key of the hash that says which blocks of an explanation are handed out."""
    return f"rise:shards:{explanation_id}"


def delivered_shards_key(explanation_id: str) -> str:
    """Return the key of the hash of computed shards of an explanation: first block -> JSON."""
    return f"rise:shards:{explanation_id}:delivered"


def reuse_key(identity: str) -> str:
    """Return the key of the hash that names the explanation with the most blocks of its kind.

    Args:
        identity: text that is the same for explanations that share their blocks.
    """
    return f"rise:kin:{hashlib.sha256(identity.encode()).hexdigest()[:32]}"


# Tenants, API keys, clients.

API_KEYS = "rise:keys"
"""Hash: SHA-256 of the secret -> what the key allows, as JSON."""


def index_key(tenant: str) -> str:
    """Return the key of a tenant's explanations: a sorted set by the microsecond of their creation."""
    return f"rise:index:{tenant}"


def rate_key(key: str) -> str:
    """Return the key of the hash of an API key's token bucket."""
    return f"rise:rate:{key}"


def pending_key(key: str) -> str:
    """Return the key of an API key's unfinished explanations: a sorted set by when their place was reserved."""
    return f"rise:pending:{key}"


def idempotency_key(tenant: str, key: str) -> str:
    """Return the key of the hash of a client's `Idempotency-Key`."""
    return f"rise:idempotency:{tenant}:{hashlib.sha256(key.encode()).hexdigest()}"


def upload_key(upload_id: str) -> str:
    """Return the key of the JSON of an uploaded image."""
    return f"rise:image:{upload_id}"


# Batches.

OPEN_BATCHES = "rise:batches"
"""Sorted set: unfinished batches by the time (in seconds) when they are due."""


def batch_key(batch_id: str) -> str:
    """Return the key of the JSON of a batch."""
    return f"rise:batch:{batch_id}"


def batch_items_key(batch_id: str) -> str:
    """Return the key of the hash of a batch's items: index -> JSON."""
    return f"rise:batch:{batch_id}:members"


def batch_waiting_key(batch_id: str) -> str:
    """Return the key of the list of a batch's items that are not submitted yet."""
    return f"rise:batch:{batch_id}:waiting"


def batch_in_flight_key(batch_id: str) -> str:
    """Return the key of the hash of a batch's items that are submitted: index -> explanation."""
    return f"rise:batch:{batch_id}:under-way"


# Workers and models.

WORKERS = "rise:workers"
"""Sorted set: live workers by the time (in seconds) when their announcement expires."""

SERVED_MODELS = "rise:served"
"""Sorted set: models by the time (in seconds) when they were last served."""

THROUGHPUT = "rise:pace"
"""Hash: for each kind of work, faded sums of seconds and of masks."""

COUNTERS = "rise:statistics"
"""Hash: metric and labels, separated by `|` -> number."""


def worker_key(worker: str) -> str:
    """Return the key of the JSON that a worker announces."""
    return f"rise:worker:{worker}"


# Housekeeping.

PING = "rise:ping"
"""Text, written to see whether the server takes anything in."""


def lease_key(name: str) -> str:
    """Return the key of the lease on a piece of work that one process at a time does."""
    return f"rise:turn:{name}"


def rescue_lock_key(queue: str) -> str:
    """Return the key of the lock on requeueing the abandoned jobs of a queue."""
    return f"rise:rescue:{queue}"


def delayed_tasks_key(kind: str) -> str:
    """Return the key of the hash of delayed tasks of a kind: id -> JSON."""
    return f"rise:promises:{kind}"


def due_tasks_key(kind: str) -> str:
    """Return the key of the sorted set of delayed tasks of a kind by the time (in seconds) when they are due."""
    return f"rise:promises:{kind}:due"
