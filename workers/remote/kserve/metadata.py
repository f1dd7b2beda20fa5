"""What a server of the Open Inference Protocol v2 says about itself and a model: read once, when it is loaded."""

import json
import re
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel

from workers.remote.http.client import HttpRequest, ModelServerClient
from workers.remote.http.errors import server_context
from workers.remote.http.response import validated
from workers.remote.http.url import check_address, shown

BINARY = "binary_tensor_data"

_SOURCE = re.compile(r"(?P<server>.+/v2)/models/[^/?#]+(/versions/[^/?#]+)?/?")

Told = TypeVar("Told", bound=BaseModel)


class TensorSpec(BaseModel):
    """An input or output; sides that are free are -1."""

    name: str
    datatype: str
    shape: list[int]


class _Server(BaseModel):
    extensions: list[str] = []


class _Model(BaseModel):
    name: str
    versions: list[str] | None = None
    platform: str | None = None
    inputs: list[TensorSpec] | None = None


@dataclass(frozen=True)
class ServerMetadata:
    """What is known of a model before it is asked.

    Attributes:
        address: of the model, `http://host:port/v2/models/NAME`.
        name: as the server calls it.
        versions: that it serves.
        platform: what runs it; empty where the server does not say it.
        inputs: none where the server does not say them.
        binary: whether the server lists the extension for binary tensors.
    """

    address: str
    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorSpec, ...]
    binary: bool

    @property
    def identity(self) -> str:
        """What of all this can change a map."""
        return json.dumps([shown(self.address), self.name, self.versions, self.platform])


def read_metadata(connection: ModelServerClient, source: str) -> ServerMetadata:
    """Ask a server about itself and about the model.

    Args:
        connection: to the server.
        source: `http://host:port/v2/models/NAME`, or that with `/versions/V` behind it.

    Raises:
        ValueError: if the source is no such address.
        BlackBoxError: if the server does not answer, or something else than metadata.
    """
    check_address(source)
    found = _SOURCE.fullmatch(source)
    if found is None:
        raise ValueError(f"source = {shown(source)!r}: write it as http://host:port/v2/models/NAME")
    address = source.rstrip("/")
    model = _read(connection, address, _Model)
    server = _read(connection, found["server"], _Server)
    return ServerMetadata(
        address,
        model.name,
        tuple(model.versions or ()),
        model.platform or "",
        tuple(model.inputs or ()),
        BINARY in server.extensions,
    )


def _read(connection: ModelServerClient, url: str, kind: type[Told]) -> Told:
    answer = connection.ask(HttpRequest(url))
    with server_context(url):
        return validated(kind, answer.content)
