"""Images by URL: fetched by the SSRF-safe client, bounded in bytes and time."""

from dataclasses import dataclass

import httpx2

from app.contract.errors import FieldError, RiseError
from app.egress.allowlist import HostAllowlist, UrlNotAllowed
from app.egress.client import total_timeout


@dataclass(frozen=True)
class ImageFetcher:
    """Fetches images that clients name by URL.

    Attributes:
        client: an SSRF-safe client.
        hosts: which may be named.
        max_bytes: largest image.
        seconds: longest time for one image, in all.
    """

    client: httpx2.AsyncClient
    hosts: HostAllowlist
    max_bytes: int
    seconds: float

    async def fetch(self, address: str, *, field: str) -> bytes:
        """Return the content of a URL.

        Args:
            address: as the client wrote it.
            field: where it stood in the request, as a JSON pointer.

        Raises:
            RiseError: `url-not-allowed`, `image-not-fetched` or `image-too-large`.
        """
        try:
            url = self.hosts.permitted(address)
            async with total_timeout(self.seconds):
                return await self._download(url)
        except UrlNotAllowed as cause:
            raise _problem("url-not-allowed", field, str(cause)) from cause
        except httpx2.TimeoutException as cause:
            raise _problem("image-not-fetched", field, f"no image came within {self.seconds:g} seconds") from cause
        except httpx2.HTTPError as cause:
            raise _problem("image-not-fetched", field, str(cause) or "the host does not answer") from cause

    async def _download(self, url: httpx2.URL) -> bytes:
        async with self.client.stream("GET", url, headers={"Accept": "image/*"}) as response:
            if response.is_redirect:
                raise httpx2.RequestError("the host redirects, and redirects are not followed")
            if response.status_code != 200:
                raise httpx2.RequestError(f"the host answers {response.status_code} {response.reason_phrase}".rstrip())
            if response.headers.get("content-encoding", "identity") != "identity":
                raise httpx2.RequestError("the host sends a compressed answer that was not asked for")
            return await read_limited(response, self.max_bytes)


async def read_limited(response: httpx2.Response, max_bytes: int) -> bytes:
    """Return the body of a response that is an image.

    Raises:
        RiseError: `image-too-large`, before the rest is read.
    """
    content = bytearray()
    async for part in response.aiter_raw():
        content += part
        if len(content) > max_bytes:
            raise RiseError("image-too-large", f"the image has more than {max_bytes} bytes")
    return bytes(content)


def _problem(code: str, field: str, detail: str) -> RiseError:
    return RiseError(code, f"{field.lstrip('/')}: {detail}", errors=[FieldError(field, detail)])
