"""Images and effects in an object store: a local folder, S3, GCS or Azure, by URL (obstore).

Names derive from ids only. Writes are atomic: in a local folder obstore writes a temporary file and renames it, and
`put` returns when it is on the disk; elsewhere an object is one request. There are no multi-part uploads, because a
killed process would leave theirs open, invisible and charged for: a large file is many objects (`chunked_file.py`).
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
from threading import Lock
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

if TYPE_CHECKING:  # because obstore has these types in its stubs only
    from obstore.store import ClientConfig, ObjectStore

logger = logging.getLogger(__name__)

EXPLANATIONS = "explanations"
IMAGES = "images"  # uploads that requests name by id
BATCHES = "batches"  # archives of batches, until all their images are submitted
PREDICTIONS = "predictions"  # images to predict, each kept for one request
_CHUNK_BYTES = 8_000_000
_BUFFER_BYTES = 1_000_000
_MIN_FREE_BYTES = 1_000_000
_MAX_READS = 8  # at once, of arrays of at most 16 MB (`workers/execution/checkpoints.py`)
_PARSING = Lock()  # because `ast`, which reads headers, fails in threads before Python 3.11.8 (cpython issue 106905)
_NO_STORE = ("NoSuchBucket", "ContainerNotFound", "bucket does not exist")
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


class BlobStore:
    """Bytes and arrays by name. Every failure of the store is a `StorageError`.

    Args:
        url: `file:///...`, `s3://...`, `gs://...`, `az://...`.
        seconds: timeout of one request to a remote store, and how long requests are retried.
    """

    def __init__(self, url: str, *, seconds: float = 10.0) -> None:
        self._folder = Path(url2pathname(urlsplit(url).path)) if url.startswith("file:") else None
        self._breaker = CircuitBreaker()
        with _translate_errors():
            self._store = _opened(url, seconds)

    def ping(self) -> None:
        """Raise a `StorageError` if nothing can be written, or the disk is full."""
        with self._guarded():
            self._write("ping", b"pong")
            if self._folder is not None and shutil.disk_usage(self._folder).free < _MIN_FREE_BYTES:
                raise OSError(ENOSPC, "no space left to speak of")

    def put(self, name: str, content: bytes) -> None:
        """Write an object, replacing one of the same name atomically; return when it is durable."""
        with self._guarded():
            self._write(name, content)
            if self._folder is not None:
                _sync(self._folder / name)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        with self._breaker.call(), _translate_errors():
            yield

    @contextmanager
    def _guarded_read(self, name: str) -> Iterator[None]:
        with self._guarded():
            try:
                yield
            except FileNotFoundError as cause:
                store_exists = self._folder is None or self._folder.is_dir()
                if not store_exists or any(word in str(cause) for word in _NO_STORE):
                    raise
                raise BlobNotFoundError(name) from cause

    def _write(self, name: str, content: bytes) -> None:
        obstore.put(self._store, name, content, use_multipart=False)

    def get(self, name: str) -> bytes:
        """Read an object.

        Raises:
            BlobNotFoundError: if there is none.
        """
        with self._guarded_read(name):
            return bytes(obstore.get(self._store, name).bytes())

    def put_file(self, name: str, file: IO[bytes]) -> None:
        """Write a file as a folder of objects, in order."""
        for number, chunk in enumerate(iter(partial(file.read, _CHUNK_BYTES), b"")):
            self.put(chunk_name(name, number), chunk)

    def open(self, name: str) -> IO[bytes]:
        """Open a seekable file for reading.

        Raises:
            BlobNotFoundError: if there is none.
        """
        with self._guarded():
            sizes = {item["path"]: item["size"] for batch in obstore.list(self._store, prefix=name) for item in batch}
        if not sizes:
            raise BlobNotFoundError(name)
        return io.BufferedReader(ChunkedFile(self._read, dict(sorted(sizes.items()))), _BUFFER_BYTES)

    def _read(self, name: str, start: int, end: int) -> bytes:
        with self._guarded_read(name):
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
            with _PARSING:
                array: NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)
        except (ValueError, EOFError) as cause:
            raise StorageError("the storage has damaged what it was given") from cause
        return array

    def get_arrays(
        self, names: Sequence[str], take: Callable[[NDArray[Any]], NDArray[Any]] = np.asarray
    ) -> Iterator[NDArray[Any]]:
        """Yield arrays in the order of their names; several are read at once, ahead of the consumer.

        Args:
            names: of the objects.
            take: selects a part of each array as soon as it is read; a copy of the part frees the rest.

        Raises:
            BlobNotFoundError: if there is none.
        """
        with ThreadPoolExecutor(_MAX_READS) as pool:
            remaining, reads = iter(names), deque[Future[NDArray[Any]]]()
            try:
                reads.extend(
                    pool.submit(self._read_part, name, take) for name in itertools.islice(remaining, _MAX_READS)
                )
                while reads:
                    array = reads.popleft().result()
                    reads.extend(pool.submit(self._read_part, name, take) for name in itertools.islice(remaining, 1))
                    yield array
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _read_part(self, name: str, take: Callable[[NDArray[Any]], NDArray[Any]]) -> NDArray[Any]:
        return take(self.get_array(name))

    def names(self, prefix: str, *, before: datetime | None = None) -> list[str]:
        """Return the names of the objects in a folder, or of those last written before a moment."""
        with self._guarded():
            return [
                item["path"]
                for batch in obstore.list(self._store, prefix=prefix)
                for item in batch
                if before is None or item["last_modified"] < before
            ]

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects; those that are gone already are no error."""
        with self._guarded():
            try:
                obstore.delete(self._store, names)
            except FileNotFoundError:  # because another process deletes too; only local folders report it
                for name in names:
                    with suppress(FileNotFoundError):
                        obstore.delete(self._store, name)

    def delete_all(self, folder: str) -> None:
        """Delete every object in a folder."""
        self.delete(self.names(folder))

    def discard(self, folder: str) -> None:
        """Delete every object in a folder; if the store is unavailable, the garbage collector does it later."""
        with suppress(StorageError):
            self.delete_all(folder)

    def delete_unfinished(self, *, before: datetime) -> int:
        """Delete temporary files of killed writers, and return their number.

        Only local folders have such files, which are no objects.

        Args:
            before: files that were written since then may belong to a live writer.
        """
        if self._folder is None:
            return 0
        with self._guarded():
            return sum(1 for file in stale_temp_files(self._folder, before) if _remove(file, self._folder))


def _opened(url: str, seconds: float) -> "ObjectStore":
    if url.startswith("file:"):
        return from_url(url, mkdir=True, automatic_cleanup=True)
    options: ClientConfig = {"timeout": timedelta(seconds=seconds), "connect_timeout": timedelta(seconds=seconds)}
    if any(os.environ.get(name, "").startswith("http://") for name in _ENDPOINTS):
        options["allow_http"] = True  # because the operator has set a plain HTTP endpoint
    return from_url(url, client_options=options, retry_config={"retry_timeout": timedelta(seconds=seconds)})


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Convert errors to `StorageError`; their own messages have addresses in them, and are logged only."""
    try:
        yield
    except FileNotFoundError as cause:  # because it is the bucket or folder that does not exist
        raise StorageError("the storage that is set does not exist") from cause
    except (BaseError, OSError) as cause:
        message = (str(cause) or type(cause).__name__).splitlines()[0]
        logger.warning("storage: %s", message)
        raise StorageError(_describe_error(cause, message)) from cause


def _describe_error(cause: Exception, message: str) -> str:
    if any(word in message for word in ("os error 28", "os error 122", "507", "StorageFull", "Errno 28", "Errno 122")):
        return "the storage is full"
    if isinstance(cause, obstore.exceptions.PermissionDeniedError | obstore.exceptions.UnauthenticatedError):
        return "the storage refuses what this service asks of it"
    return "the storage does not do what it is asked to"


def _sync(file: Path) -> None:
    """Sync a new file and its folder to the disk, because a record that survives a power cut may refer to it."""
    for path in (file, file.parent):
        with suppress(FileNotFoundError):  # because another process has deleted it
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _remove(file: Path, root: Path) -> bool:
    """Remove a file, and folders below the root that are empty then; return False if it was gone."""
    try:
        file.unlink()
    except FileNotFoundError:
        return False
    with suppress(OSError):  # because a folder may not be empty
        for folder in itertools.takewhile(lambda above: above != root, file.parents):
            folder.rmdir()
    return True


def explanation_prefix(explanation_id: str) -> str:
    """Return the folder of an explanation."""
    return f"{EXPLANATIONS}/{explanation_id}"


def owner_id(name: str) -> str:
    """Return the id of the explanation, image or batch that an object belongs to."""
    return name.split("/")[1]


def image_blob(explanation_id: str) -> str:
    """Return the name of an explanation's uploaded image."""
    return f"{explanation_prefix(explanation_id)}/image"


def upload_blob(upload_id: str) -> str:
    """Return the name of an upload's image."""
    return f"{upload_folder(upload_id)}/image"


def upload_folder(upload_id: str) -> str:
    """Return the folder of an upload."""
    return f"{IMAGES}/{upload_id}"


def batch_folder(batch_id: str) -> str:
    """Return the folder of a batch."""
    return f"{BATCHES}/{batch_id}"


def archive_blob(batch_id: str) -> str:
    """Return the name of a batch's archive."""
    return f"{batch_folder(batch_id)}/archive.zip"


def annotations_blob(batch_id: str, first: int) -> str:
    """Return the name of the annotations of a chunk of a batch's images, from `first` on."""
    return f"{batch_folder(batch_id)}/annotations/{first:08d}.json"


def survey_folder(batch_id: str) -> str:
    """Return the folder of what a survey of a batch has computed."""
    return f"{batch_folder(batch_id)}/survey"


def figures_blob(batch_id: str, first: int) -> str:
    """Return the name of the figures of a chunk of a batch's images, from `first` on."""
    return f"{survey_folder(batch_id)}/{first:08d}.npz"


def survey_report_blob(batch_id: str) -> str:
    """Return the name of the report of a batch."""
    return f"{survey_folder(batch_id)}/report.json"


def survey_failure_blob(batch_id: str) -> str:
    """Return the name of the reason why a report was not made."""
    return f"{survey_folder(batch_id)}/failure.json"


def effects_blob(explanation_id: str, execution: str, first: int, count: int) -> str:
    """Return the name of an object with the effects of `count` blocks from `first` on.

    It has the execution in it, so that a late writer overwrites nothing.
    """
    return f"{explanation_prefix(explanation_id)}/effects/{first:08d}-{count:08d}-{execution}.npy"
