"""What the service answers, as values. Fields that a newer service adds are left out."""

import io
import json
from typing import Any, TypeVar

import httpx2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import TypeAdapter

from app.client.problems import ServiceError, unexpected
from app.contract.schemas import Progress, Status
from app.views import Explanation as View

Value = TypeVar("Value")
Arrays = dict[str, NDArray[Any]]


ENDS = {Status.SUCCEEDED, Status.FAILED, Status.CANCELLED}


def value_in(response: httpx2.Response, kind: type[Value]) -> Value:
    """Return the value in a response.

    Raises:
        ServiceError: if there is none of this kind, because it is not the service that answers.
    """
    try:
        return TypeAdapter(kind).validate_python(response.json(), extra="ignore")
    except ValueError as error:
        raise unexpected(response) from error


def view_in(response: httpx2.Response) -> View:
    """Return the explanation in a response."""
    return value_in(response, View)


def values_in(response: httpx2.Response, kind: type[Value]) -> list[Value]:
    """Return the list of values in a response."""
    return value_in(response, list[kind])  # type: ignore[valid-type]


def arrays_in(content: bytes) -> Arrays:
    """Return the arrays of a `.npz` archive."""
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return dict(archive)


def region_in(response: httpx2.Response) -> NDArray[np.bool_]:
    """Return the region in a response, `[H, W]`, true inside."""
    with Image.open(io.BytesIO(response.content)) as picture:
        return np.asarray(picture) > 0


def progress_in(event: httpx2.ServerSentEvent) -> Progress | None:
    """Return the progress that an event tells of; None where it tells of something else."""
    told = json.loads(event.data).get("progress") if event.data else None
    return None if told is None else Progress.model_validate(told, extra="ignore")


def check_success(view: View) -> None:
    """Check that an explanation that has ended has a result.

    Raises:
        ServiceError: with the reason why not.
    """
    if view.status is Status.SUCCEEDED:
        return
    if view.error is not None:
        raise ServiceError(view.error.code, view.error.detail)
    raise ServiceError(view.status.value, f"explanation {view.id} was {view.status.value}")
