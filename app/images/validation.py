"""Untrusted bytes to a validated image: size in bytes, pixels, and a decode in a child process.

A worker, or the front end when it renders a map, decodes an image only after this has decoded it within limits of
memory and CPU time.
"""

import hashlib
from dataclasses import dataclass
from operator import attrgetter
from threading import Lock

from anyio import CapacityLimiter, to_thread
from cachetools import LRUCache, cachedmethod

from app.contract.errors import RiseError
from app.contract.images.decoding import FORMATS
from app.contract.images.unsupported import name_unsupported
from app.contract.schemas import ImageInfo
from app.contract.settings import Settings
from app.images.decoder_pool import DecoderDiedError, DecoderPool

_REMEMBERED = 2000  # hashes, with a few numbers each: less than a kilobyte
_PROCESSES = 2  # each decodes 300 Mpx of JPEG a second, and is limited to 1.3 GB for images of 50 Mpx


@dataclass(frozen=True)
class ValidatedImage:
    """An upload that every worker is able to decode.

    Attributes:
        content: the bytes as they came.
        info: size of the upright image, hash and type.
    """

    content: bytes
    info: ImageInfo


class ImageValidator:
    """Validates uploads. The same bytes are not decoded again soon.

    Args:
        settings: the limits.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known = LRUCache[str, ImageInfo](_REMEMBERED)
        self._lock = Lock()
        self._pool = DecoderPool(_PROCESSES, max_pixels=settings.max_image_pixels)
        # Their own threads, because images that wait for a process must not take those that serve other requests.
        self._threads = CapacityLimiter(_PROCESSES)

    async def validate(self, content: bytes) -> ValidatedImage:
        """Decode an upload under limits.

        Raises:
            RiseError: `image-too-large` (bytes or pixels), `unreadable-image`.
        """
        return await to_thread.run_sync(self._validate, content, limiter=self._threads)

    def close(self) -> None:
        """End the child processes."""
        self._pool.close()

    def _validate(self, content: bytes) -> ValidatedImage:
        most = self._settings.max_image_bytes
        if len(content) > most:
            raise RiseError("image-too-large", f"the image has {len(content)} bytes; at most {most} are allowed")
        sha256 = hashlib.sha256(content).hexdigest()
        return ValidatedImage(content, self._decoded(content, sha256))

    @cachedmethod(attrgetter("_known"), key=lambda _self, _content, sha256: sha256, lock=attrgetter("_lock"))
    def _decoded(self, content: bytes, sha256: str) -> ImageInfo:
        if not content:
            raise RiseError("unreadable-image", "the image is empty")
        try:
            found = self._pool.probe(content)
        except DecoderDiedError as cause:
            raise RiseError("unreadable-image", "the image takes too much time or memory to decode") from cause
        if found is None:
            unknown = f"the image cannot be read: it is broken or incomplete, or not one of {', '.join(FORMATS)}"
            raise RiseError("unreadable-image", name_unsupported(content) or unknown)
        most = self._settings.max_image_pixels
        if found.width * found.height > most:
            detail = f"the image has {found.width} x {found.height} pixels; at most {most} in all are allowed"
            raise RiseError("image-too-large", detail)
        return ImageInfo(
            width=found.width,
            height=found.height,
            sha256=sha256,
            media_type=FORMATS[found.format],
            scaled=found.scaled,
        )
