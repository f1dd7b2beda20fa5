"""Fetches the images of tasks: from Label Studio with the operator's token, or from other hosts without it.

Task data are untrusted: everybody who may import tasks writes them. At Label Studio only paths of files are requested,
because the token grants access to all others too; other hosts are requested through the SSRF-safe client
(`app/egress`), as for images by URL in the API.
"""

import base64
import re
from dataclasses import dataclass

import httpx2

from app.api.base64_text import decode_base64
from app.contract.errors import FieldError, RiseError
from app.egress.allowlist import UrlNotAllowed, name_of
from app.images.fetcher import ImageFetcher
from app.integrations.label_studio.api_client import LabelStudioClient

_FILES = re.compile(
    r"/data/(upload|local-files)/.*|/storage-data/uploaded/.*|/(tasks|projects)/[0-9]+/(presign|resolve)/.*"
)
_UPLOADS = "/data/upload/"
_CLOUDS = ("s3://", "gs://", "azure-blob://")
_DATA_URL = re.compile(r"data:image/[a-z0-9.+-]+;base64,")
_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True)
class LabelStudioFile:
    """An image at Label Studio: paths with queries, to be tried in this order."""

    paths: tuple[str, ...]


@dataclass(frozen=True)
class ExternalUrl:
    """An image at another host."""

    url: str


@dataclass(frozen=True)
class DataUrl:
    """An image inside of the task itself."""

    content: bytes


def locate(address: object, task: int, studio: httpx2.URL) -> LabelStudioFile | ExternalUrl | DataUrl:
    """Return where a task's image is.

    Args:
        address: from the task's data.
        task: its id, which Label Studio needs to sign addresses of clouds.
        studio: Label Studio's own address.

    Raises:
        UrlNotAllowed: for anything but an address of an image.
    """
    if not isinstance(address, str) or not address:
        raise UrlNotAllowed("the task has no address of an image here")
    if found := _DATA_URL.match(address):
        return DataUrl(_decode_data_url(address[found.end() :]))
    if address.startswith(_CLOUDS):
        name = base64.urlsafe_b64encode(address.encode()).decode()
        return LabelStudioFile((f"/tasks/{task}/presign/?fileuri={name}",))
    url = _resolve_url(studio, address)
    if _origin(url) != _origin(studio):
        return ExternalUrl(address)
    return LabelStudioFile(_paths(url, studio.path.rstrip("/")))


def _decode_data_url(text: str) -> bytes:
    try:
        return decode_base64(text)
    except ValueError as cause:
        raise UrlNotAllowed("the image in the task's data is not base64") from cause


def _resolve_url(studio: httpx2.URL, address: str) -> httpx2.URL:
    """Return the absolute URL of an address; a single leading slash means a path of Label Studio."""
    try:
        url = httpx2.URL(address)
        if address.startswith("/") and not address.startswith("//"):
            return studio.copy_with(raw_path=url.raw_path)
    except (httpx2.InvalidURL, ValueError) as cause:
        raise UrlNotAllowed("this is not a URL") from cause
    if url.scheme not in _PORTS or not url.host or url.userinfo:
        raise UrlNotAllowed("an image is at https://host/path or at a path of Label Studio")
    return url


def _origin(url: httpx2.URL) -> tuple[str, str, int]:
    return url.scheme, name_of(url), url.port or _PORTS.get(url.scheme, 0)


def _paths(url: httpx2.URL, base: str) -> tuple[str, ...]:
    """Return the path below the base path; for an upload also the path that applies if uploads are kept in a cloud."""
    path = url.raw_path.decode().removeprefix(base)
    plain, _, query = path.partition("?")
    if not _FILES.fullmatch(plain) or re.search(r"/\.\.?(/|$)|%2e|%2f|%5c|\\", plain, re.IGNORECASE):
        raise UrlNotAllowed(f"{plain!r} is no file of Label Studio")
    if plain.startswith(_UPLOADS) and not query:
        name = plain.removeprefix("/data/")
        return path, f"/storage-data/uploaded/?filepath={name}"
    return (path,)


@dataclass(frozen=True)
class TaskImages:
    """Fetches the images of tasks."""

    studio: LabelStudioClient
    fetcher: ImageFetcher

    async def fetch(self, address: object, task: int, *, field: str) -> bytes:
        """Return the bytes of a task's image.

        Args:
            address: as `locate`.
            task: id of the task.
            field: the JSON pointer of the address in the request.

        Raises:
            RiseError: `url-not-allowed`, `image-not-fetched` or `image-too-large`.
        """
        try:
            location = locate(address, task, self.studio.url)
        except UrlNotAllowed as cause:
            raise _error("url-not-allowed", field, str(cause)) from cause
        if isinstance(location, DataUrl):
            return location.content
        if isinstance(location, ExternalUrl):
            return await self.fetcher.fetch(location.url, field=field)
        return await self._fetch_file(location, field)

    async def _fetch_file(self, location: LabelStudioFile, field: str) -> bytes:
        """Return an image from Label Studio, or from the cloud that it redirects to, without the token.

        Raises:
            RiseError: as `fetch`.
        """
        for path in location.paths:
            try:
                found = await self.studio.fetch_image(path)
            except httpx2.HTTPError as cause:
                detail = f"Label Studio: {str(cause) or 'no answer'}"
                raise _error("image-not-fetched", field, detail) from cause
            if isinstance(found, bytes):
                return found
            if found is not None and _origin(httpx2.URL(found)) != _origin(self.studio.url):
                return await self.fetcher.fetch(found, field=field)
        detail = "Label Studio does not have it, or not for the user of RISE_LABEL_STUDIO_API_KEY"
        raise _error("image-not-fetched", field, detail)


def _error(code: str, field: str, detail: str) -> RiseError:
    return RiseError(code, f"{field.lstrip('/')}: {detail}", errors=[FieldError(field, detail)])
