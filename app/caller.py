"""Who is asking: the tenant that a request belongs to, and what it may do."""

from dataclasses import dataclass
from typing import Literal

Scope = Literal["explain", "read", "admin"]
SCOPES: tuple[Scope, ...] = ("explain", "read", "admin")

PUBLIC = "public"


@dataclass(frozen=True)
class Caller:
    """Who sent a request.

    Attributes:
        tenant: whose explanations they see; what belongs to others does not exist for them.
        scopes: what they may do.
    """

    tenant: str
    scopes: frozenset[Scope]


EVERYBODY = Caller(PUBLIC, frozenset(SCOPES))
"""The only caller of a service without keys."""
