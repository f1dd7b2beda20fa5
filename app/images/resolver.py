"""From an image source to its bytes."""

from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool

from app.images.fetcher import ImageFetcher
from app.images.source import ById, ByUrl, ImageSource
from app.images.uploads import Uploads


@dataclass(frozen=True)
class ImageSourceResolver:
    """Fetches images by URL, and reads uploads by id.

    Attributes:
        fetcher: for URLs.
        uploads: for ids.
    """

    fetcher: ImageFetcher
    uploads: Uploads

    async def content(self, tenant: str, source: ImageSource) -> bytes:
        """Return the bytes of an image.

        Raises:
            RiseError: what `ImageFetcher.fetch` and `Uploads.content` raise.
        """
        if isinstance(source, ByUrl):
            return await self.fetcher.fetch(source.url, field=source.field)
        if isinstance(source, ById):
            return await run_in_threadpool(self.uploads.content, tenant, source)
        return source
