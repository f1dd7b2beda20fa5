"""The principal of a request: its tenant, scopes and limits."""

from dataclasses import dataclass

from app.auth.api_keys import SCOPES, ApiKeyStore, Limits, Scope
from app.contract.errors import RiseError

PUBLIC = "public"
_NO_LIMITS = Limits()


@dataclass(frozen=True)
class Principal:
    """The authenticated sender of a request.

    Attributes:
        tenant: whose explanations it may access; those of other tenants are not found.
        scopes: its permissions.
        key: the id of its API key; None where the service has no keys.
        limits: of its API key.
    """

    tenant: str
    scopes: frozenset[Scope]
    key: str | None = None
    limits: Limits = _NO_LIMITS


ANONYMOUS = Principal(PUBLIC, frozenset(SCOPES))
"""The only principal of a service without keys."""


def authenticate(keys: ApiKeyStore, secret: str | None) -> Principal:
    """Return the principal of a secret.

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
