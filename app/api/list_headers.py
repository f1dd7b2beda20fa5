"""Request headers whose lines are one list (RFC 9110 section 5.3), of which FastAPI sees the first line alone."""

from typing import Annotated

from fastapi import Depends, Header, Request

_Tags = Annotated[str | None, Header(description="The `ETag` of the copy that the client has.")]


async def _copies(request: Request, if_none_match: _Tags = None) -> str | None:
    return if_none_match and _joined(request, "if-none-match")


async def _accept(request: Request, accept: Annotated[str | None, Header()] = None) -> str | None:
    return accept and _joined(request, "accept")


def _joined(request: Request, name: str) -> str:
    return ", ".join(request.headers.getlist(name))


IfNoneMatch = Annotated[str | None, Depends(_copies)]
Accept = Annotated[str | None, Depends(_accept)]
