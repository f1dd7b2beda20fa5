"""List explanations."""

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Response
from pydantic import Field

from app.api.dependencies import Reader, ServicesDep
from app.api.openapi_components import PROBLEMS
from app.contract.schemas import Identifier, RequestModel, Status
from app.explanations.listing import Cursor, read_cursor
from app.explanations.root_path import root_path
from app.explanations.views import ExplanationSummaryView, summary

router = APIRouter(prefix="/v1/explanations", tags=["explanations"], responses=PROBLEMS)

_NEXT: dict[int | str, dict[str, Any]] = {
    200: {
        "headers": {
            "Link": {
                "description": 'The next page, `rel="next"`; absent on the last one.',
                "schema": {"type": "string"},
                "example": '</v1/explanations?limit=20&after=1763800000000000-5f1c>; rel="next"',
            }
        }
    }
}


class ListFilter(RequestModel):
    """Which explanations, and how many."""

    status: Status | None = Field(None, description="Only those that are in this state.")
    model: Identifier | None = Field(None, description="Only those of this model.")
    limit: int = Field(20, ge=1, le=100, description="How many at most.")
    after: str | None = Field(
        None, pattern=r"^\d{1,16}-[A-Za-z0-9_-]{1,100}$", description="Where to go on: take it from the `Link` header."
    )


@router.get("", operation_id="listExplanations", responses=_NEXT)
def explanations(
    wanted: Annotated[ListFilter, Query()], response: Response, services: ServicesDep, caller: Reader
) -> list[ExplanationSummaryView]:
    """Return explanations in short, the newest first; `links.self` leads to all of each.

    A page may hold fewer than `limit`, even none, while there is a next one: follow `Link` until there is none.
    """
    page = services.listing.page(
        caller.tenant,
        limit=wanted.limit,
        after=read_cursor(wanted.after) if wanted.after else None,
        status=wanted.status,
        model=wanted.model,
    )
    if page.next is not None:
        response.headers["Link"] = f'<{_address(wanted, page.next)}>; rel="next"'
    return [summary(record) for record in page.records]


def _address(wanted: ListFilter, after: Cursor) -> str:
    query = wanted.model_dump(mode="json", exclude_none=True) | {"after": str(after)}
    return f"{root_path()}/v1/explanations?{urlencode(query)}"
