"""Options of model servers in the models file.

This module does not import the HTTP libraries, so that entries can be checked where they are not installed.
"""

import os
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from app.contract.schemas import JsonObject, RequestModel

Datatype = Literal["UINT8", "INT8", "UINT16", "INT16", "UINT32", "INT32", "INT64", "FP16", "BF16", "FP32", "FP64"]
Layout = Literal["NCHW", "NHWC", "CHW", "HWC"]
PictureKind = Literal["png", "jpeg"]
RequestForm = Literal["json", "bytes"]
Seconds = Annotated[float, Field(gt=0, le=3600)]


class ConnectionOptions(RequestModel):
    """Options of the connection. Loaders extend it with options of their own."""

    concurrency: int = Field(4, ge=1, le=64, description="Requests under way at once.")
    connect_seconds: Seconds = Field(5, description="To open a connection.")
    answer_seconds: Seconds = Field(60, description="To answer one request.")
    retries: int = Field(
        10,
        ge=0,
        le=1000,
        description="Further attempts after 408, 429, 502, 503, 504 and connections that fail or break.",
    )
    longest_wait_seconds: Seconds = Field(30, description="A server that asks for a longer pause has failed.")
    headers: dict[str, str] = Field(default_factory=dict, description="Sent with every request.")
    headers_from_environment: dict[str, str] = Field(
        default_factory=dict, description="Names of environment variables that hold a header's value: for secrets."
    )


class InferenceOptions(ConnectionOptions):
    """Options of `open_inference`."""

    input: str | None = Field(None, description="Name of the input; default: the only one that the server names.")
    layout: Layout | None = Field(
        None, description="Order of its sides; without N one picture a request. Default: by its shape, else NCHW."
    )
    datatype: Datatype | None = Field(None, description="Default: as the server says it, else FP32.")
    batch: int | None = Field(None, ge=1, le=4096, description="Pictures in one request; default: by their size.")
    binary: bool | None = Field(
        None,
        description="Binary tensors; default: if the server lists `binary_tensor_data`. KServe's Python server "
        "understands them without listing them.",
    )
    version: str | None = Field(
        None, description="Of a model whose server does not say it (v1): change it when that changes."
    )


class LabelsOptions(ConnectionOptions):
    """Options of `http_labels`."""

    image: PictureKind = Field("png", description="The file that is sent: `png` is exact, `jpeg` smaller.")
    request: RequestForm | None = Field(
        None,
        description="`json`: `{inputs: base64, parameters: {...}}`; `bytes`: the file as the body. Default: JSON, or "
        "bytes where the service refuses that.",
    )
    parameters: JsonObject | None = Field(
        None, description="Sent with JSON. Default: what asks for everything, `top_k` or a `threshold` of 0."
    )
    version: str | None = Field(
        None, description="Of the model behind the service, which does not say it: change it when that changes."
    )


def headers_of(options: ConnectionOptions, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the headers with their values.

    Raises:
        ValueError: if an environment variable is not set.
    """
    missing = [name for name in options.headers_from_environment.values() if name not in environment]
    if missing:
        raise ValueError(f"options.headers_from_environment: {', '.join(missing)} is not set")
    secret = {header: environment[name] for header, name in options.headers_from_environment.items()}
    return {**options.headers, **secret}
