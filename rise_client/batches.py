"""Batches: many images in one request, one resource to wait for, files of other tools to download."""

import asyncio
import hashlib
import json
import os
import secrets
import tempfile
import time
import zipfile
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal, Protocol, Self

import httpx2

from rise_client.errors import ServiceError
from rise_client.event_loop_thread import EventLoopThread
from rise_client.models import BatchData, BatchItem, ReportData
from rise_client.requests import ApiRequest, batch_request, path_of
from rise_client.responses import parse

BatchFile = Literal["archive", "coco", "targets", "label-studio", "label-config", "report.html", "report.csv"]
"""What a batch is downloaded as; `archive` holds maps, and is told the formats as `formats="npz,png"`, and `targets`
a table (CSV) with their evidence."""

_POLL_SECONDS = 1.0
_PAGE = 100
_READ_BYTES = 1_000_000


class Sender(Protocol):
    """Sends requests, as `AsyncClient` does."""

    async def send(self, request: ApiRequest) -> httpx2.Response:
        """Send a request, again while the service is busy or away."""
        ...

    async def download(self, request: ApiRequest, file: IO[bytes]) -> None:
        """Write the answer to a request into a file, as it comes."""
        ...


def pack(paths: Iterable[str | Path]) -> IO[bytes]:
    """Return a zip archive of image files, in a temporary file; names are what is left of paths below their folder."""
    files = [Path(path).absolute() for path in paths]
    folder = Path(os.path.commonpath([file.parent for file in files])) if files else Path()
    archive = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    with zipfile.ZipFile(archive, "w") as packed:  # stored, because images are packed already
        for file in files:
            packed.write(file, file.relative_to(folder).as_posix())
    archive.seek(0)
    return archive


async def create(sender: Sender, paths: Iterable[str | Path], fields: dict[str, Any]) -> "AsyncBatch":
    """Send files as a batch, with the fields of the question about each."""
    archive = await asyncio.to_thread(pack, paths)
    with archive:
        return AsyncBatch(sender, parse(await sender.send(batch_request(archive, **fields)), BatchData))


async def create_survey(
    sender: Sender, paths: Iterable[str | Path], annotations: str | Path, fields: dict[str, Any]
) -> "AsyncBatch":
    """Send files with their annotations as a batch; the same files and fields are the same batch for a day.

    A report that could not be made is tried again.
    """
    files = sorted(Path(path).absolute() for path in paths)
    content = await asyncio.to_thread(Path(annotations).read_bytes)
    archive = await asyncio.to_thread(pack, files)
    with archive:
        key = await asyncio.to_thread(_content_key, archive, content, fields)
        request = batch_request(archive, annotations=content, key=key, **fields)
        batch = AsyncBatch(sender, parse(await sender.send(request), BatchData))
    await sender.send(ApiRequest("POST", path_of(batch.data.links["report"])))
    return batch


def _content_key(archive: IO[bytes], annotations: bytes, fields: dict[str, Any]) -> str:
    digest = hashlib.sha256(annotations)
    for part in iter(partial(archive.read, _READ_BYTES), b""):
        digest.update(part)
    archive.seek(0)
    digest.update(json.dumps(fields, sort_keys=True, default=str).encode())
    return digest.hexdigest()


class AsyncBatch:
    """A batch on the service.

    Attributes:
        data: what was last read of it.
    """

    def __init__(self, sender: Sender, data: BatchData) -> None:
        self._sender = sender
        self.data = data

    async def refresh(self) -> Self:
        """Read it again."""
        self.data = parse(await self._sender.send(ApiRequest("GET", path_of(self.data.links["self"]))), BatchData)
        return self

    async def wait(self, seconds: float = float("inf")) -> Self:
        """Wait until all its images have ended, however they have.

        Raises:
            TimeoutError: if they have not after so many seconds.
        """
        deadline = time.monotonic() + seconds
        while not (await self.refresh()).data.ended:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"batch {self.data.id} has not ended after {seconds:g} seconds")
            await asyncio.sleep(min(_POLL_SECONDS, left))
        return self

    async def items(self) -> AsyncGenerator[BatchItem]:
        """Yield its images in the order in which they were sent, with their explanations or problems."""
        after = -1
        while after < self.data.total - 1:
            options = {"params": {"limit": _PAGE, "after": after}}
            request = ApiRequest("GET", path_of(self.data.links["explanations"]), options)
            page = parse(await self._sender.send(request), list[BatchItem])
            if not page:
                return
            for item in page:
                yield item
            after = page[-1].index

    async def report(self, seconds: float = float("inf")) -> ReportData:
        """Wait until all images of an annotated batch have ended, and return what their maps have in common.

        Raises:
            TimeoutError: if there is no report after so many seconds.
            ServiceError: if it came without annotations, or the report cannot be made.
        """
        deadline = time.monotonic() + seconds
        await self.wait(seconds)
        while True:
            response = await self._sender.send(ApiRequest("GET", self._address("report")))
            if response.status_code == httpx2.codes.OK:
                return parse(response, ReportData)
            if time.monotonic() > deadline:
                raise TimeoutError(f"the report of batch {self.data.id} is not there after {seconds:g} seconds")
            await asyncio.sleep(_POLL_SECONDS)

    def _address(self, kind: str) -> str:
        """Return the path of a file of it; those of a report stand beside it."""
        name, dot, ending = kind.partition(".")
        link = self.data.links.get(name)
        if link is None:
            raise ServiceError("not-found", f"this batch has no {name}: it came without annotations")
        return path_of(link) + dot + ending

    async def download(self, path: str | Path, kind: BatchFile = "archive", **options: Any) -> Path:
        """Write what there is of it into a file, which is there when it is whole; return the file's path.

        Args:
            path: of the file.
            kind: of the file.
            options: of the kind: `formats`, `level`, `prefix`.
        """
        with _arriving(Path(path)) as file:
            await self._sender.download(ApiRequest("GET", self._address(kind), {"params": options}), file)
        return Path(path)

    async def cancel(self) -> Self:
        """Stop it; what has ended stays."""
        self.data = parse(await self._sender.send(ApiRequest("POST", path_of(self.data.links["cancel"]))), BatchData)
        return self

    async def delete(self) -> None:
        """Remove it with the explanations that it made."""
        await self._sender.send(ApiRequest("DELETE", path_of(self.data.links["self"])))


class Batch:
    """A batch on the service, for programs without an event loop; see `AsyncBatch`."""

    def __init__(self, thread: EventLoopThread, batch: AsyncBatch) -> None:
        self._thread = thread
        self._batch = batch

    @property
    def data(self) -> BatchData:
        """What was last read of it."""
        return self._batch.data

    def refresh(self) -> Self:
        """Read it again."""
        self._thread.call(self._batch.refresh)
        return self

    def wait(self, seconds: float = float("inf")) -> Self:
        """Wait until all its images have ended, however they have; see `AsyncBatch.wait`."""
        self._thread.call(self._batch.wait, seconds)
        return self

    def items(self) -> Iterator[BatchItem]:
        """Yield its images in the order in which they were sent, with their explanations or problems."""
        return self._thread.iterate(self._batch.items())

    def report(self, seconds: float = float("inf")) -> ReportData:
        """Wait for all images of an annotated batch, and return what their maps have in common; see `AsyncBatch`."""
        return self._thread.call(self._batch.report, seconds)

    def download(self, path: str | Path, kind: BatchFile = "archive", **options: Any) -> Path:
        """Write what there is of it into a file, as it comes; see `AsyncBatch.download`."""
        return self._thread.call(partial(self._batch.download, path, kind, **options))

    def cancel(self) -> Self:
        """Stop it; what has ended stays."""
        self._thread.call(self._batch.cancel)
        return self

    def delete(self) -> None:
        """Remove it with the explanations that it made."""
        self._thread.call(self._batch.delete)


@contextmanager
def _arriving(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of another when the block ends well, and is removed when it does not."""
    place = path.resolve()  # because a link stays one
    if place.exists() and not place.is_file():
        with place.open("wb") as pipe:  # because nothing can take the place of a pipe or a device
            yield pipe
        return
    part = place.with_name(f"{place.name}.{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as file:
            yield file
        part.replace(place)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
