"""The source of a request's image: its bytes, a URL to fetch, or an earlier upload."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ByUrl:
    """An image to be fetched.

    Attributes:
        url: as the client wrote it.
        field: where it stood in the request, as a JSON pointer.
    """

    url: str
    field: str


@dataclass(frozen=True)
class ById:
    """An image that was uploaded before.

    Attributes:
        id: as `POST /v1/images` returned it.
        field: where it stood in the request, as a JSON pointer.
    """

    id: str
    field: str


ImageSource = bytes | ByUrl | ById
