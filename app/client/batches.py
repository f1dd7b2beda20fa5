"""Batches for programs: many images sent as one, waited for, read one by one, downloaded as files of other tools."""

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

import anyio
import httpx2

from app.batches.views import BatchView, MemberView
from app.client import calls
from app.client.answers import value_in, values_in
from app.client.background import Background
from app.client.calls import Call

BatchFile = Literal["archive", "coco", "label-studio", "label-config"]
"""What a batch is downloaded as; `archive` holds maps, and is told the formats as `formats="npz,png"`."""

_LOOK_SECONDS = 1.0
_PAGE = 100


class Sender(Protocol):
    """Sends requests, as `AsyncClient` does."""

    async def send(self, call: Call) -> httpx2.Response:
        """Send a request, again while the service is busy or away."""
        ...

    async def download(self, call: Call, file: IO[bytes]) -> None:
        """Write the answer to a request into a file, as it comes."""
        ...


def packed(paths: Iterable[str | Path]) -> IO[bytes]:
    """Return a zip archive of image files, in a temporary file; names are what is left of paths below their folder."""
    files = [Path(path).absolute() for path in paths]
    folder = Path(os.path.commonpath([file.parent for file in files])) if files else Path()
    archive = tempfile.TemporaryFile()  # noqa: SIM115 - whoever sends it closes it
    with zipfile.ZipFile(archive, "w") as pack:  # stored, because images are packed already
        for file in files:
            pack.write(file, file.relative_to(folder).as_posix())
    archive.seek(0)
    return archive


async def create(sender: Sender, paths: Iterable[str | Path], fields: dict[str, Any]) -> "AsyncBatch":
    """Send files as a batch, with the fields of the question about each."""
    archive = await anyio.to_thread.run_sync(packed, paths)
    with archive:
        return AsyncBatch(sender, _view(await sender.send(calls.batch(archive, fields))))


class AsyncBatch:
    """A batch on the service.

    Attributes:
        view: what was last read of it.
    """

    def __init__(self, sender: Sender, view: BatchView) -> None:
        self._sender = sender
        self.view = view

    async def refresh(self) -> Self:
        """Read it again."""
        self.view = _view(await self._sender.send(Call("GET", self.view.links["self"])))
        return self

    async def wait(self, seconds: float = float("inf")) -> Self:
        """Wait until all its images have ended, however they have.

        Raises:
            TimeoutError: if they have not after so many seconds.
        """
        deadline = time.monotonic() + seconds
        while (await self.refresh()).view.status == "running":
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"batch {self.view.id} has not ended after {seconds:g} seconds")
            await anyio.sleep(min(_LOOK_SECONDS, left))
        return self

    async def members(self) -> AsyncGenerator[MemberView]:
        """Yield its images in the order in which they were sent, with their explanations or problems."""
        after = -1
        while after < self.view.total - 1:
            options = {"params": {"limit": _PAGE, "after": after}}
            page = values_in(await self._sender.send(Call("GET", self.view.links["explanations"], options)), MemberView)
            if not page:
                return
            for member in page:
                yield member
            after = page[-1].index

    async def download(self, path: str | Path, kind: BatchFile = "archive", **options: Any) -> Path:
        """Write what there is of it into a file, which is there when it is whole; return the file's path.

        Args:
            path: of the file.
            kind: of the file.
            options: of the kind: `formats`, `level`, `prefix`.
        """
        with _arriving(Path(path)) as file:
            await self._sender.download(Call("GET", self.view.links[kind], {"params": options}), file)
        return Path(path)

    async def cancel(self) -> Self:
        """Stop it; what has ended stays."""
        self.view = _view(await self._sender.send(Call("POST", self.view.links["cancel"])))
        return self

    async def delete(self) -> None:
        """Remove it with the explanations that it made."""
        await self._sender.send(Call("DELETE", self.view.links["self"]))


class Batch:
    """A batch on the service, for programs without an event loop; see `AsyncBatch`."""

    def __init__(self, background: Background, batch: AsyncBatch) -> None:
        self._background = background
        self._batch = batch

    @property
    def view(self) -> BatchView:
        """What was last read of it."""
        return self._batch.view

    def refresh(self) -> Self:
        """Read it again."""
        self._background.call(self._batch.refresh)
        return self

    def wait(self, seconds: float = float("inf")) -> Self:
        """Wait until all its images have ended, however they have; see `AsyncBatch.wait`."""
        self._background.call(self._batch.wait, seconds)
        return self

    def members(self) -> Iterator[MemberView]:
        """Yield its images in the order in which they were sent, with their explanations or problems."""
        return self._background.iterate(self._batch.members())

    def download(self, path: str | Path, kind: BatchFile = "archive", **options: Any) -> Path:
        """Write what there is of it into a file, as it comes; see `AsyncBatch.download`."""
        return self._background.call(partial(self._batch.download, path, kind, **options))

    def cancel(self) -> Self:
        """Stop it; what has ended stays."""
        self._background.call(self._batch.cancel)
        return self

    def delete(self) -> None:
        """Remove it with the explanations that it made."""
        self._background.call(self._batch.delete)


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


def _view(response: httpx2.Response) -> BatchView:
    return value_in(response, BatchView)
