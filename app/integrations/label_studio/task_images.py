"""Where the image of a task is: at Label Studio, which is asked with its key, or at another host, which never sees it.

Task data come from whoever may import tasks. At Label Studio only the addresses of files are asked for, because the key
would open all others too; every other host goes through the guard of `app/outbound`, as an image by URL in the API.
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
_UPLOADED = "/data/upload/"
_CLOUDS = ("s3://", "gs://", "azure-blob://")
_INLINE = re.compile(r"data:image/[a-z0-9.+-]+;base64,")
_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True)
class LabelStudioFile:
    """An image at Label Studio: paths with queries, the second to be tried where the first has nothing."""

    paths: tuple[str, ...]


@dataclass(frozen=True)
class ExternalUrl:
    """An image at another host."""

    url: str


@dataclass(frozen=True)
class DataUrl:
    """An image that stands in the task itself."""

    content: bytes


def locate(address: object, task: int, studio: httpx2.URL) -> LabelStudioFile | ExternalUrl | DataUrl:
    """Return where a task's image is.

    Args:
        address: what stands in the task's data.
        task: id of the task, on whose behalf Label Studio signs addresses of clouds.
        studio: Label Studio's own address.

    Raises:
        Refused: for what is no address of an image.
    """
    if not isinstance(address, str) or not address:
        raise UrlNotAllowed("the task has no address of an image here")
    if found := _INLINE.match(address):
        return DataUrl(_file(address[found.end() :]))
    if address.startswith(_CLOUDS):
        name = base64.urlsafe_b64encode(address.encode()).decode()
        return LabelStudioFile((f"/tasks/{task}/presign/?fileuri={name}",))
    url = _joined(studio, address)
    if _origin(url) != _origin(studio):
        return ExternalUrl(address)
    return LabelStudioFile(_paths(url, studio.path.rstrip("/")))


def _file(text: str) -> bytes:
    try:
        return decode_base64(text)
    except ValueError as cause:
        raise UrlNotAllowed("the image in the task's data is not base64") from cause


def _joined(studio: httpx2.URL, address: str) -> httpx2.URL:
    """Return the URL of an address; one that begins with a single slash is a path of Label Studio."""
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
    """Return the path below Label Studio's own, and for an upload where it is if uploads are kept in a cloud."""
    path = url.raw_path.decode().removeprefix(base)
    plain, _, query = path.partition("?")
    if not _FILES.fullmatch(plain) or re.search(r"/\.\.?(/|$)|%2e|%2f|%5c|\\", plain, re.IGNORECASE):
        raise UrlNotAllowed(f"{plain!r} is no file of Label Studio")
    if plain.startswith(_UPLOADED) and not query:
        name = plain.removeprefix("/data/")
        return path, f"/storage-data/uploaded/?filepath={name}"
    return (path,)


@dataclass(frozen=True)
class TaskImages:
    """Fetches the images of tasks."""

    studio: LabelStudioClient
    pictures: ImageFetcher

    async def fetch(self, address: object, task: int, *, field: str) -> bytes:
        """Return the bytes of a task's image.

        Args:
            address: as `locate`.
            task: id of the task.
            field: where the address stood in the request, as a JSON pointer.

        Raises:
            RiseError: `url-not-allowed`, `image-not-fetched` or `image-too-large`.
        """
        try:
            place = locate(address, task, self.studio.url)
        except UrlNotAllowed as cause:
            raise _problem("url-not-allowed", field, str(cause)) from cause
        if isinstance(place, DataUrl):
            return place.content
        if isinstance(place, ExternalUrl):
            return await self.pictures.fetch(place.url, field=field)
        return await self._from_studio(place, field)

    async def _from_studio(self, place: LabelStudioFile, field: str) -> bytes:
        """Return an image that Label Studio has, or the one at a cloud to which it sends us: that is asked without key.

        Raises:
            RiseError: as `fetch`.
        """
        for path in place.paths:
            try:
                found = await self.studio.picture(path)
            except httpx2.HTTPError as cause:
                detail = f"Label Studio: {str(cause) or 'no answer'}"
                raise _problem("image-not-fetched", field, detail) from cause
            if isinstance(found, bytes):
                return found
            if found is not None and _origin(httpx2.URL(found)) != _origin(self.studio.url):
                return await self.pictures.fetch(found, field=field)
        detail = "Label Studio does not have it, or not for the user of RISE_LABEL_STUDIO_API_KEY"
        raise _problem("image-not-fetched", field, detail)


def _problem(code: str, field: str, detail: str) -> RiseError:
    return RiseError(code, f"{field.lstrip('/')}: {detail}", errors=[FieldError(field, detail)])
