"""Tensors in bodies of the Open Inference Protocol v2: numbers in JSON, or bytes behind it (the binary extension).

Binary tensors are little-endian and row-major, and follow the JSON part in its order; a header says how long that is.
That of `tritonclient` 2.73 is not used, because it imports gevent, encodes 900,000 numbers as JSON in 1.9 s (0.06 s
here), and does not check lengths, shapes and NaN in responses.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from workers.remote.http.client import HttpResponse, validated
from workers.remote.http.options import Datatype

Array = NDArray[Any]

LENGTH_HEADER = "inference-header-content-length"

_TYPES: dict[str, str] = {
    "BOOL": "|b1",
    "UINT8": "|u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "|i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "BF16": "<u2",  # the upper half of a float32
    "FP32": "<f4",
    "FP64": "<f8",
}
_BINARY_ONLY = {"FP16", "BF16"}


@dataclass(frozen=True)
class EncodedTensors:
    """An encoded request.

    Attributes:
        content: the body.
        headers: that describe it.
    """

    content: bytes
    headers: dict[str, str]


def in_datatype(values: NDArray[np.float32], datatype: Datatype) -> Array:
    """Return float32 values in a datatype, little-endian; integers are rounded and clipped."""
    if datatype == "BF16":
        bits = np.ascontiguousarray(values, dtype="<f4").view("<u4").astype(np.uint64)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")  # because halves go to the even neighbour
    kind = np.dtype(_TYPES[datatype])
    if kind.kind in "ui":
        bounds = np.iinfo(kind)
        return np.clip(np.rint(values.astype(np.float64)), bounds.min, bounds.max).astype(kind)
    return np.ascontiguousarray(values, dtype=kind)


def encode(
    name: str, values: NDArray[np.float32], datatype: Datatype, *, binary: bool, request_id: str
) -> EncodedTensors:
    """Return the request for one input.

    Args:
        name: of the input.
        values: in the layout of the input.
        datatype: of the input.
        binary: whether the server takes binary tensors.
        request_id: repeated in the response.
    """
    array = in_datatype(values, datatype)
    tensor: dict[str, Any] = {"name": name, "shape": list(values.shape), "datatype": datatype}
    if not binary:
        body = {"id": request_id, "inputs": [{**tensor, "data": np.ascontiguousarray(array).ravel()}]}
        return EncodedTensors(
            orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY), {"content-type": "application/json"}
        )
    raw = array.tobytes()
    tensor["parameters"] = {"binary_data_size": len(raw)}
    text = orjson.dumps({"id": request_id, "inputs": [tensor], "parameters": {"binary_data_output": True}})
    headers = {"content-type": "application/octet-stream", LENGTH_HEADER: str(len(text))}
    return EncodedTensors(text + raw, headers)


def check_encodable(datatype: Datatype, *, binary: bool) -> None:
    """Check that a datatype can be sent.

    Raises:
        ValueError: for half precision without binary tensors.
    """
    if datatype in _BINARY_ONLY and not binary:
        raise ValueError(f"{datatype} travels as binary tensors only, which the server does not offer")


class _Parameters(BaseModel):
    binary_data_size: Annotated[int, Field(ge=0)] | None = None


class _Output(BaseModel):
    name: str
    datatype: str
    shape: list[Annotated[int, Field(ge=0)]]
    parameters: _Parameters | None = None
    data: list[Any] | None = None


class _Body(BaseModel):
    model_version: str | None = None
    outputs: list[_Output]


@dataclass(frozen=True)
class DecodedResponse:
    """The outputs in a response.

    Attributes:
        version: of the model that answered; None where the server does not say it.
        tensors: by name.
    """

    version: str | None
    tensors: dict[str, Array]


def decode(response: HttpResponse) -> DecodedResponse:
    """Return the tensors of a response, half precision as float32.

    Raises:
        ValueError: continuing "the server ...", for whatever is wrong with it.
    """
    text, raw = _parts(response)
    body = validated(_Body, text)
    tensors: dict[str, Array] = {}
    for output in body.outputs:
        size = output.parameters.binary_data_size if output.parameters else None
        if size is not None and size > len(raw):
            raise ValueError(f"gave {len(raw)} bytes for {output.name!r}, expected {size}")
        tensors[output.name] = _array(output, None if size is None else raw[:size])
        raw = raw[size or 0 :]
    if not tensors:
        raise ValueError("gave no output")
    return DecodedResponse(body.model_version, tensors)


def _parts(response: HttpResponse) -> tuple[bytes, bytes]:
    """Return the JSON and the binary part of a body."""
    length = response.headers.get(LENGTH_HEADER)
    if length is None:
        return response.content, b""
    if not length.isdecimal() or int(length) > len(response.content):
        raise ValueError(
            f"gave an answer of {len(response.content)} bytes whose JSON part should be {length[:20]} long"
        )
    return response.content[: int(length)], response.content[int(length) :]


def _array(output: _Output, raw: bytes | None) -> Array:
    if output.datatype not in _TYPES:
        raise ValueError(f"gave {output.name!r} as {output.datatype}; rise-serve reads {', '.join(_TYPES)}")
    read: Callable[[], Array] = (lambda: _from_json(output)) if raw is None else (lambda: _from_bytes(output, raw))
    try:
        array = read()
    except (ValueError, TypeError, OverflowError) as cause:
        raise ValueError(f"gave {output.name!r} with data that is not {output.datatype}: {cause}") from cause
    if array.size != math.prod(output.shape):
        raise ValueError(f"gave {array.size} numbers for {output.name!r} of shape {output.shape}")
    check_numbers(output.name, array)
    return array.reshape(output.shape)


def _from_json(output: _Output) -> Array:
    kind = np.dtype("<f4") if output.datatype in _BINARY_ONLY else np.dtype(_TYPES[output.datatype])
    return np.asarray(output.data if output.data is not None else [], dtype=kind).ravel()


def _from_bytes(output: _Output, raw: bytes) -> Array:
    array = np.frombuffer(raw, dtype=_TYPES[output.datatype])
    if output.datatype == "BF16":
        return (array.astype("<u4") << 16).view("<f4")
    return array.astype("<f4") if output.datatype == "FP16" else array.copy()  # because a buffer is read-only


def check_numbers(name: str, array: Array) -> None:
    """Check that an output holds numbers.

    Raises:
        ValueError: continuing "the server ...", for NaN and infinity.
    """
    if array.dtype.kind != "f":
        return
    if np.isnan(array).any():
        raise ValueError(f"gave NaN in {name!r}")
    if np.isposinf(array).any():  # because minus infinity is a score too: "never this class"
        raise ValueError(f"gave infinity in {name!r}")
