"""What can be wrong, in words that a client reads. `app/problems.py` gives each code its HTTP status.

The front end raises these; workers store `code` and `detail` on the explanation that failed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

_STORAGE_AGAIN_SECONDS = 5.0


@dataclass(frozen=True)
class FieldError:
    """One thing wrong with one field.

    Attributes:
        field: where, as a JSON pointer into the request, e.g. `/targets/0/label`.
        detail: what is wrong and what is allowed.
    """

    field: str
    detail: str


class RiseError(Exception):
    """A request or a job cannot be served, for a reason that its client can understand.

    Args:
        code: one of the codes of the HTTP contract, e.g. `unreadable-image`.
        detail: the reason in a sentence.
        errors: the fields at fault, where there are any.
        retry_after_seconds: when it makes sense to try again; None if it does not.
    """

    def __init__(
        self, code: str, detail: str, *, errors: Sequence[FieldError] = (), retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)
        self.retry_after_seconds = retry_after_seconds


class StorageError(RiseError):
    """The object store is full, away, or refuses; what needs it may be tried again later."""

    def __init__(self, detail: str) -> None:
        super().__init__(
            "storage-unavailable", f"{detail}; see GET /readyz", retry_after_seconds=_STORAGE_AGAIN_SECONDS
        )


def wrong_field(field: str, detail: str) -> RiseError:
    """Return the error for one field with a value that is not allowed."""
    return RiseError("invalid-parameters", f"{field.lstrip('/')}: {detail}", errors=[FieldError(field, detail)])


def unknown_name(field: str, given: object, choices: Sequence[str]) -> RiseError:
    """Return the error for a name that nobody knows; its detail lists the choices (at most twenty)."""
    shown = ", ".join(choices[:20]) + (f" and {len(choices) - 20} more" if len(choices) > 20 else "")
    detail = f"{given!r} is not known here; choose from: {shown or '(nothing is available)'}"
    return RiseError("unknown-name", f"{field.lstrip('/')}: {detail}", errors=[FieldError(field, detail)])
