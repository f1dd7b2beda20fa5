"""Routes of the page: not in the OpenAPI document, because they are for people."""

from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import JSONResponse

from app.api.conditional_requests import etag_matches
from app.api.content_negotiation import prefers_html
from app.api.dependencies import ServicesDep
from app.contract.errors import RiseError
from app.contract.settings import Settings
from app.web.assets import Asset, bundle, page

router = APIRouter(include_in_schema=False)

_LONG = "public, max-age=31536000, immutable"  # because a change of content is a change of address
_INDEX = {
    "models": "v1/models",
    "methods": "v1/methods",
    "fills": "v1/fills",
    "explanations": "v1/explanations",
    "images": "v1/images",
    "batches": "v1/batches",
    "openapi": "openapi.json",
    "documentation": "docs",
    "ready": "readyz",
}

_Accept = Annotated[str | None, Header()]
_Tags = Annotated[str | None, Header()]


@router.get("/")
def index(request: Request, services: ServicesDep, accept: _Accept = None) -> Response:
    """Return the page where the client prefers HTML, else an index of links."""
    if prefers_html(accept):
        return _page("index.html", root="./", settings=services.settings, embeddable=False)
    links = {name: f"{request.scope.get('root_path', '').rstrip('/')}/{path}" for name, path in _INDEX.items()}
    summary = {"title": request.app.title, "version": request.app.version, "links": links}
    return JSONResponse(summary, headers={"Vary": "Accept"})


@router.get("/ui/embed/{explanation}")
def embed(services: ServicesDep) -> Response:
    """Return the viewer of one explanation, for frames in pages of others."""
    return _page("embed.html", root="../../", settings=services.settings, embeddable=True)


@router.get("/favicon.ico")
def favicon(if_none_match: _Tags = None) -> Response:
    """Return the icon, for browsers that ask for it without having read the page."""
    return _file(bundle().assets["icon.svg"], {"Cache-Control": "public, max-age=86400"}, if_none_match)


@router.get("/assets/{digest}/{path:path}")
def asset(digest: str, path: str, if_none_match: _Tags = None) -> Response:
    """Return a static file; for the address of another version the file of this one, which is not to be kept."""
    files = bundle()
    found = files.assets.get(path)
    if found is None:
        raise RiseError("not-found", f"there is no file {path!r}")
    cache_control = _LONG if digest == files.digest else "no-cache"
    return _file(found, {"Cache-Control": cache_control}, if_none_match)


def _file(found: Asset, headers: dict[str, str], if_none_match: str | None) -> Response:
    headers |= {"ETag": found.etag, "X-Content-Type-Options": "nosniff"}
    if etag_matches(found.etag, if_none_match):
        return Response(status_code=304, headers=headers)
    return Response(found.content, headers=headers, media_type=found.media_type)


def _page(name: str, *, root: str, settings: Settings, embeddable: bool) -> Response:
    frames = settings.frame_ancestors.replace(",", " ") if embeddable else ""
    headers = {
        "Content-Security-Policy": content_security_policy(frames),
        "Cache-Control": "no-cache",
        "Vary": "Accept",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    }
    return Response(page(name, root=root), headers=headers, media_type="text/html; charset=utf-8")


def content_security_policy(frame_ancestors: str) -> str:
    """Return the policy of pages: nothing from other hosts, nothing inline; `blob:` is a picture that was fetched."""
    ancestors = " ".join(frame_ancestors.split()) or "'none'"
    return (
        "default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'none'; "
        f"frame-ancestors {ancestors}"
    )
