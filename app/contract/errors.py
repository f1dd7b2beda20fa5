"""What can be wrong, in words that a client reads, and the one table of error codes.

The front end raises these and answers them by HTTP (`app/api/problems.py`); workers store `code` and `detail` on the
explanation that failed, or send them back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class ErrorCode(NamedTuple):
    """What an error code means.

    Attributes:
        status: of an HTTP answer.
        retry_after_seconds: when to try again, where an error does not say so itself; None where that makes no sense.
    """

    status: int
    retry_after_seconds: float | None = None


CODES: Mapping[str, ErrorCode] = {
    "unreadable-image": ErrorCode(422),
    "unknown-name": ErrorCode(422),
    "invalid-parameters": ErrorCode(422),
    "no-target": ErrorCode(422),
    "idempotency-key-reused": ErrorCode(422),
    "url-not-allowed": ErrorCode(403),
    "image-not-fetched": ErrorCode(422),
    "malformed-request": ErrorCode(400),
    "request-timeout": ErrorCode(408),
    "image-too-large": ErrorCode(413),
    "request-too-large": ErrorCode(413),
    "batch-too-large": ErrorCode(413),
    "unreadable-archive": ErrorCode(422),
    "unsupported-media-type": ErrorCode(415),
    "not-acceptable": ErrorCode(406),
    "unauthorized": ErrorCode(401),
    "forbidden": ErrorCode(403),
    "not-found": ErrorCode(404),
    "not-kept": ErrorCode(404),
    "method-not-allowed": ErrorCode(405),
    "not-ready": ErrorCode(409),
    "expired": ErrorCode(410),
    "too-many-requests": ErrorCode(429, 5),
    "busy": ErrorCode(503, 5),
    "no-worker": ErrorCode(503, 5),
    "unavailable": ErrorCode(503, 5),
    "storage-unavailable": ErrorCode(503, 5),
    "out-of-memory": ErrorCode(503, 30),
    "model-failed": ErrorCode(502),
    "timed-out": ErrorCode(504),
    "internal": ErrorCode(500),
}


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
        code: one of `CODES`.
        detail: the reason in a sentence.
        errors: the fields at fault, where there are any.
        retry_after_seconds: when it makes sense to try again; None: as the table says.

    Attributes:
        retry_after_seconds: when it makes sense to try again; None if it does not.
    """

    def __init__(
        self, code: str, detail: str, *, errors: Sequence[FieldError] = (), retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)
        self.retry_after_seconds = (
            CODES[code].retry_after_seconds if retry_after_seconds is None else retry_after_seconds
        )

    def reworded(self, detail: str, *, errors: Sequence[FieldError] = ()) -> "RiseError":
        """Return the same error with another detail and other fields; when to try again stays."""
        return RiseError(self.code, detail, errors=errors, retry_after_seconds=self.retry_after_seconds)


class StorageError(RiseError):
    """The object store is full, away, or refuses; what needs it may be tried again later."""

    def __init__(self, detail: str) -> None:
        super().__init__("storage-unavailable", f"{detail}; see GET /readyz")


class BlobNotFoundError(RiseError):
    """The object store does not have an object; it was deleted, or has expired.

    Args:
        name: of the object.
    """

    def __init__(self, name: str) -> None:
        super().__init__("expired", "what is asked for is not in the storage any more; send the request again")
        self.name = name


def reported_error(code: str, detail: str) -> RiseError:
    """Return what a worker has stored or sent back as an error; `internal` for a code that is not known here."""
    return RiseError(code if code in CODES else "internal", detail)


def invalid_field(field: str, detail: str) -> RiseError:
    """Return the error for one field with a value that is not allowed."""
    return RiseError("invalid-parameters", f"{field.lstrip('/')}: {detail}", errors=[FieldError(field, detail)])


def unknown_choice(field: str, given: object, choices: Sequence[str]) -> RiseError:
    """Return the error for an unknown name; its detail lists the choices (at most twenty)."""
    shown = ", ".join(choices[:20]) + (f" and {len(choices) - 20} more" if len(choices) > 20 else "")
    detail = f"{given!r} is not known here; choose from: {shown or '(nothing is available)'}"
    return RiseError("unknown-name", f"{field.lstrip('/')}: {detail}", errors=[FieldError(field, detail)])
