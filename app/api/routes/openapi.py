"""The OpenAPI document, and the page on which every operation can be tried: Swagger UI, served from a package.

Its addresses are relative to the page's own, so that they are right below any path of a proxy.
"""

from contextlib import suppress

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from redis.exceptions import RedisError
from starlette.staticfiles import StaticFiles

from app.api.dependencies import ServicesDep
from app.api.openapi_document import build_openapi
from app.contract.schemas import MethodCard

router = APIRouter(include_in_schema=False)

_SWAGGER_UI = StaticFiles(packages=[("fastapi_swagger", "resources")])
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>rise-serve: HTTP API</title>
<link rel="icon" href="docs/favicon-32x32.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_START = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  validatorUrl: null,
});
"""
_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",  # icons of Swagger UI, and maps that were fetched
        "media-src blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)


@router.get("/openapi.json")
def openapi(request: Request, services: ServicesDep) -> JSONResponse:
    """Return the document with the methods of live workers; without them where the catalogue cannot be read."""
    methods: list[MethodCard] = []
    with suppress(RedisError):
        methods = services.catalogue.now().methods
    content = build_openapi(request.app, methods)
    root: str = request.scope.get("root_path", "")
    return JSONResponse({**content, "servers": [{"url": root}]} if root else content)


@router.get("/docs")
async def docs() -> HTMLResponse:
    """Return a page on which every operation can be tried."""
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _POLICY})


@router.get("/docs/start.js")
async def start() -> Response:
    """Return the script that starts Swagger UI; not a part of the page, so that its policy allows no inline scripts."""
    return Response(_START, media_type="text/javascript")


@router.get("/docs/{name}")
async def swagger_ui(name: str, request: Request) -> Response:
    """Return a file of Swagger UI."""
    return await _SWAGGER_UI.get_response(name, request.scope)
