"""Answers of a server, and JSON in them that must look as agreed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError

Told = TypeVar("Told", bound=BaseModel)


@dataclass(frozen=True)
class HttpResponse:
    """What a server sent back, read to its end.

    Attributes:
        status: 200 where all is well.
        headers: their names in any case.
        content: the body.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes


def validated(kind: type[Told], text: bytes) -> Told:
    """Return what a JSON text says.

    Args:
        kind: what it should say.
        text: JSON; NaN may stand in it, because servers write it.

    Raises:
        ValueError: continuing "the server ...", for text that is no JSON or says something else.
    """
    try:
        return kind.model_validate(json.loads(text))
    except ValidationError as cause:
        first = cause.errors()[0]
        place = ".".join(map(str, first["loc"])) or "a body"
        raise ValueError(f"gave an answer with {place} amiss: {first['msg']}") from cause
    except ValueError as cause:
        raise ValueError(f"gave an answer that is no JSON: {text[:100].decode(errors='replace')!r}") from cause
