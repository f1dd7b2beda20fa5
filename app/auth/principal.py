"""Who is asking: the tenant that a request belongs to, and what it may do."""

from dataclasses import dataclass

from app.auth.api_keys import SCOPES, ApiKeyStore, Limits, Scope
from app.contract.errors import RiseError

PUBLIC = "public"
_NO_LIMITS = Limits()


@dataclass(frozen=True)
class Principal:
    """Who sent a request.

    Attributes:
        tenant: whose explanations they see; what belongs to others does not exist for them.
        scopes: what they may do.
        key: the id of their API key; None where the service has no keys.
        limits: how much they may ask for.
    """

    tenant: str
    scopes: frozenset[Scope]
    key: str | None = None
    limits: Limits = _NO_LIMITS


ANONYMOUS = Principal(PUBLIC, frozenset(SCOPES))
"""The only caller of a service without keys."""


def authenticate(keys: ApiKeyStore, secret: str | None) -> Principal:
    """Return who sent a secret.

    Raises:
        RiseError: `unauthorized`.
    """
    if secret is None:
        raise RiseError("unauthorized", "this service needs an API key: send `Authorization: Bearer rise_...`")
    found = keys.find(secret)
    if found is None:
        raise RiseError("unauthorized", "this API key is unknown, revoked or expired")
    key_id, key = found
    return Principal(key.tenant, frozenset(key.scopes), key_id, key.limits)
