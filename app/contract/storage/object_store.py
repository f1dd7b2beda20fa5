"""Images and effects in an object store: a local folder, S3, GCS or Azure, by URL (obstore).

Names derive from ids only. An object appears whole or not at all. In a local folder obstore writes beside and renames,
and what has been put is on the disk before anybody refers to it; elsewhere an object is one request. There are no
multi-part uploads, because a killed process would leave theirs open, unseen and paid for: a large file is many objects
(`chunked_file.py`).
"""

import io
import itertools
import logging
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from errno import ENOSPC
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
import obstore
from numpy.typing import NDArray
from obstore.exceptions import BaseError
from obstore.store import from_url

from app.contract.errors import BlobNotFoundError, StorageError
from app.contract.storage.chunked_file import ChunkedFile, chunk_name
from app.contract.storage.circuit_breaker import CircuitBreaker
from app.contract.storage.stale_files import stale_temp_files

if TYPE_CHECKING:  # because they have no other life
    from obstore.store import ClientConfig, ObjectStore

logger = logging.getLogger(__name__)

EXPLANATIONS = "explanations"
IMAGES = "images"  # uploaded by themselves
BATCHES = "batches"  # archives that batches were uploaded as, until they are read
PREDICTIONS = "predictions"  # images that somebody asked a model about; each is there for one answer
_PART_BYTES = 8_000_000
_READ_BYTES = 1_000_000
_LEAST_FREE_BYTES = 1_000_000
_ARRAYS_AT_ONCE = 8  # that are read, each of at most 16 MB (`workers/execution/checkpoints.py`)
_NO_STORE = ("NoSuchBucket", "ContainerNotFound", "bucket does not exist")
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


class BlobStore:
    """Bytes and arrays by name. Whatever the store does not do is a `StorageError`.

    Args:
        url: `file:///...`, `s3://...`, `gs://...`, `az://...`.
        seconds: how long a remote store may take for one request, and how long requests are tried again.
    """

    def __init__(self, url: str, *, seconds: float = 10.0) -> None:
        self._folder = Path(url2pathname(urlsplit(url).path)) if url.startswith("file:") else None
        self._breaker = CircuitBreaker()
        with _explained():
            self._store = _opened(url, seconds)

    def ping(self) -> None:
        """Raise if nothing can be written, or next to nothing more."""
        with self._asking():
            self._write("ping", b"pong")
            if self._folder is not None and shutil.disk_usage(self._folder).free < _LEAST_FREE_BYTES:
                raise OSError(ENOSPC, "no space left to speak of")

    def put(self, name: str, content: bytes) -> None:
        """Write an object, replacing one of the same name in one step; return when it is safe."""
        with self._asking():
            self._write(name, content)
            if self._folder is not None:
                _sync(self._folder / name)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        with self._breaker.call(), _explained():
            yield

    @contextmanager
    def _asking_for(self, name: str) -> Iterator[None]:
        with self._asking():
            try:
                yield
            except FileNotFoundError as cause:
                there = self._folder is None or self._folder.is_dir()
                if not there or any(word in str(cause) for word in _NO_STORE):
                    raise
                raise BlobNotFoundError(name) from cause

    def _write(self, name: str, content: bytes) -> None:
        obstore.put(self._store, name, content, use_multipart=False)

    def get(self, name: str) -> bytes:
        """Read an object.

        Raises:
            BlobNotFoundError: if there is none.
        """
        with self._asking_for(name):
            return bytes(obstore.get(self._store, name).bytes())

    def put_file(self, name: str, file: IO[bytes]) -> None:
        """Write a file as a folder of objects, the last one last."""
        for number, part in enumerate(iter(partial(file.read, _PART_BYTES), b"")):
            self.put(chunk_name(name, number), part)

    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading here and there.

        Raises:
            BlobNotFoundError: if there is none.
        """
        with self._asking():
            sizes = {item["path"]: item["size"] for batch in obstore.list(self._store, prefix=name) for item in batch}
        if not sizes:
            raise BlobNotFoundError(name)
        return io.BufferedReader(ChunkedFile(self._read, dict(sorted(sizes.items()))), _READ_BYTES)

    def _read(self, name: str, start: int, end: int) -> bytes:
        with self._asking_for(name):
            return bytes(obstore.get_range(self._store, name, start=start, end=end))

    def put_array(self, name: str, array: NDArray[Any]) -> None:
        """Write an array in NumPy's own format."""
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        self.put(name, buffer.getvalue())

    def get_array(self, name: str) -> NDArray[Any]:
        """Read an array; never unpickles.

        Raises:
            BlobNotFoundError: if there is none.
        """
        content = self.get(name)
        try:
            array: NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)
        except (ValueError, EOFError) as cause:
            raise StorageError("the storage has damaged what it was given") from cause
        return array

    def get_arrays(
        self, names: Sequence[str], take: Callable[[NDArray[Any]], NDArray[Any]] = np.asarray
    ) -> Iterator[NDArray[Any]]:
        """Yield arrays in the order of their names; several are read at once, ahead of whoever uses them.

        Args:
            names: of the objects.
            take: returns what is wanted of an array as soon as it is read; a copy of a part lets go of the rest.

        Raises:
            BlobNotFoundError: if there is none.
        """
        with ThreadPoolExecutor(_ARRAYS_AT_ONCE) as pool:
            left, reads = iter(names), deque[Future[NDArray[Any]]]()
            try:
                reads.extend(pool.submit(self._taken, name, take) for name in itertools.islice(left, _ARRAYS_AT_ONCE))
                while reads:
                    array = reads.popleft().result()
                    reads.extend(pool.submit(self._taken, name, take) for name in itertools.islice(left, 1))
                    yield array
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _taken(self, name: str, take: Callable[[NDArray[Any]], NDArray[Any]]) -> NDArray[Any]:
        return take(self.get_array(name))

    def names(self, prefix: str, *, before: datetime | None = None) -> list[str]:
        """Return the names of the objects in a folder, or of those that were last written before a moment."""
        with self._asking():
            return [
                item["path"]
                for batch in obstore.list(self._store, prefix=prefix)
                for item in batch
                if before is None or item["last_modified"] < before
            ]

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects; those that are gone already are no error."""
        with self._asking():
            try:
                obstore.delete(self._store, names)
            except FileNotFoundError:  # because somebody else deletes too; only local folders say so
                for name in names:
                    with suppress(FileNotFoundError):
                        obstore.delete(self._store, name)

    def delete_all(self, folder: str) -> None:
        """Delete every object in a folder."""
        self.delete(self.names(folder))

    def discard(self, folder: str) -> None:
        """Delete every object in a folder if that can be done now; if not, the garbage collector does it."""
        with suppress(StorageError):
            self.delete_all(folder)

    def delete_unfinished(self, *, before: datetime) -> int:
        """Delete what writers left that were killed while they wrote, and return how many files that were.

        Only local folders have such files; they are no objects, and nothing else sees them.

        Args:
            before: files that were written to since then may belong to a writer that lives.
        """
        if self._folder is None:
            return 0
        with self._asking():
            return sum(1 for file in stale_temp_files(self._folder, before) if _removed(file, self._folder))


def _opened(url: str, seconds: float) -> "ObjectStore":
    if url.startswith("file:"):
        return from_url(url, mkdir=True, automatic_cleanup=True)
    options: ClientConfig = {"timeout": timedelta(seconds=seconds), "connect_timeout": timedelta(seconds=seconds)}
    if any(os.environ.get(name, "").startswith("http://") for name in _ENDPOINTS):
        options["allow_http"] = True  # because whoever writes such an endpoint has said so
    return from_url(url, client_options=options, retry_config={"retry_timeout": timedelta(seconds=seconds)})


@contextmanager
def _explained() -> Iterator[None]:
    """Say of whatever goes wrong what it means; its own words have addresses in them, and belong into the log."""
    try:
        yield
    except FileNotFoundError as cause:  # because what is missed is not an object
        raise StorageError("the storage that is set does not exist") from cause
    except (BaseError, OSError) as cause:
        said = (str(cause) or type(cause).__name__).splitlines()[0]
        logger.warning("storage: %s", said)
        raise StorageError(_meaning(cause, said)) from cause


def _meaning(cause: Exception, said: str) -> str:
    if any(word in said for word in ("os error 28", "os error 122", "507", "StorageFull", "Errno 28", "Errno 122")):
        return "the storage is full"
    if isinstance(cause, obstore.exceptions.PermissionDeniedError | obstore.exceptions.UnauthenticatedError):
        return "the storage refuses what this service asks of it"
    return "the storage does not do what it is asked to"


def _sync(file: Path) -> None:
    """Return when a new file and its name are on the disk: a record that outlives a power cut may refer to it."""
    for place in (file, file.parent):
        with suppress(FileNotFoundError):  # because somebody has deleted it already
            descriptor = os.open(place, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _removed(file: Path, root: Path) -> bool:
    """Remove a file, and the folders below the root that are empty then."""
    try:
        file.unlink()
    except FileNotFoundError:
        return False
    with suppress(OSError):  # because a folder may not be empty
        for folder in itertools.takewhile(lambda above: above != root, file.parents):
            folder.rmdir()
    return True


def explanation_prefix(explanation_id: str) -> str:
    """Return the folder that holds everything of an explanation."""
    return f"{EXPLANATIONS}/{explanation_id}"


def owner_id(name: str) -> str:
    """Return the id of the explanation, image or batch that an object belongs to."""
    return name.split("/")[1]


def image_blob(explanation_id: str) -> str:
    """Return the name of an explanation's uploaded image."""
    return f"{explanation_prefix(explanation_id)}/image"


def upload_blob(upload_id: str) -> str:
    """Return the name of an image that was uploaded by itself."""
    return f"{upload_folder(upload_id)}/image"


def upload_folder(upload_id: str) -> str:
    """Return the folder of an image that was uploaded by itself."""
    return f"{IMAGES}/{upload_id}"


def batch_folder(batch_id: str) -> str:
    """Return the folder of a batch."""
    return f"{BATCHES}/{batch_id}"


def archive_blob(batch_id: str) -> str:
    """Return the name of the archive that a batch was uploaded as."""
    return f"{batch_folder(batch_id)}/archive.zip"


def effects_blob(explanation_id: str, execution: str, first: int, count: int) -> str:
    """Return the name of an object with the effects of `count` blocks from `first` on.

    It carries the execution, so that a late writer spoils nothing, and no execution writes two of the same name.
    """
    return f"{explanation_prefix(explanation_id)}/effects/{first:08d}-{count:08d}-{execution}.npy"
