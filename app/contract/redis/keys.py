"""The keys of Redis that the service writes under `rise:`."""

DUE = "rise:due"
"""Sorted set: explanations by the time (in seconds) from which their blobs may be swept, if they are gone by then."""

PING = "rise:ping"
"""Written to see whether the server takes anything in."""


def record_key(explanation_id: str) -> str:
    """Return the key of an explanation's hash."""
    return f"rise:explanation:{explanation_id}"


def events_key(explanation_id: str) -> str:
    """Return the key of an explanation's event stream, and of the channel that rings at every entry."""
    return f"rise:events:{explanation_id}"


def tombstone_key(explanation_id: str) -> str:
    """Return the key that remembers whose an explanation was for a while after it has expired."""
    return f"rise:tombstone:{explanation_id}"


def index_key(tenant: str) -> str:
    """Return the key of a tenant's explanations: a sorted set by the microsecond of their creation."""
    return f"rise:index:{tenant}"


def lease_key(name: str) -> str:
    """Return the key of the lease on a piece of work that one process at a time does."""
    return f"rise:turn:{name}"


def batch_key(batch_id: str) -> str:
    """Return the key of a batch; those of its members and lists begin with it."""
    return f"rise:batch:{batch_id}"


def upload_key(upload_id: str) -> str:
    """Return the key of an uploaded image."""
    return f"rise:image:{upload_id}"
