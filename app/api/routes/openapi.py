"""The OpenAPI document, and pages that show it."""

from contextlib import suppress

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse
from redis.exceptions import RedisError

from app.api.dependencies import ServicesDep
from app.api.openapi_document import build_openapi
from app.contract.schemas import MethodCard

router = APIRouter(include_in_schema=False)


@router.get("/openapi.json")
def openapi(request: Request, services: ServicesDep) -> JSONResponse:
    """Return the document with the methods of live workers; without them where the catalogue cannot be read."""
    methods: list[MethodCard] = []
    with suppress(RedisError):
        methods = services.catalogue.now().methods
    content = build_openapi(request.app, methods)
    root = _root(request)
    return JSONResponse({**content, "servers": [{"url": root}]} if root else content)


@router.get("/docs")
def docs(request: Request) -> HTMLResponse:
    """Return a page on which every operation can be tried."""
    return get_swagger_ui_html(openapi_url=f"{_root(request)}/openapi.json", title=request.app.title)


@router.get("/redoc")
def redoc(request: Request) -> HTMLResponse:
    """Return a page for reading."""
    return get_redoc_html(openapi_url=f"{_root(request)}/openapi.json", title=request.app.title)


def _root(request: Request) -> str:
    """Return the path below which a proxy shows the service; empty where there is none."""
    root: str = request.scope.get("root_path", "")
    return root.rstrip("/")
