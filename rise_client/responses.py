"""What is in the service's responses, as values and arrays."""

import io
import json
from typing import Any, TypeVar

import httpx2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import TypeAdapter

from rise_client.errors import ServiceError, unexpected
from rise_client.models import AuditData, ExplanationData, Progress

Parsed = TypeVar("Parsed")
Arrays = dict[str, NDArray[Any]]


def parse(response: httpx2.Response, kind: type[Parsed]) -> Parsed:
    """Return the value in a response.

    Raises:
        ServiceError: if there is none of this kind, because it is not the service that answers.
    """
    try:
        return TypeAdapter(kind).validate_python(response.json())
    except ValueError as error:
        raise unexpected(response) from error


def parse_arrays(content: bytes) -> Arrays:
    """Return the arrays of a `.npz` archive."""
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return dict(archive)


def parse_mask(response: httpx2.Response) -> NDArray[np.bool_]:
    """Return the mask in a PNG, `[H, W]`, true inside."""
    with Image.open(io.BytesIO(response.content)) as picture:
        return np.asarray(picture) > 0


def parse_progress(event: httpx2.ServerSentEvent) -> Progress | None:
    """Return the progress that an event reports; None where it reports something else."""
    reported = json.loads(event.data).get("progress") if event.data else None
    return None if reported is None else Progress.model_validate(reported)


def check_success(data: ExplanationData | AuditData, name: str) -> None:
    """Check that an explanation or audit that has ended has a result.

    Raises:
        ServiceError: with the reason why not.
    """
    if data.status == "succeeded":
        return
    if data.error is not None:
        raise ServiceError(data.error.code, data.error.detail)
    raise ServiceError(data.status, f"{name} was {data.status}")
