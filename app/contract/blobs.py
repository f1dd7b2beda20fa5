"""Images and effects in an object store: a local folder, S3, GCS or Azure, by URL (obstore).

Names derive from ids only. An object appears whole or not at all: obstore writes beside and renames.
"""

import io
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import IO, Any

import numpy as np
import obstore
from numpy.typing import NDArray
from obstore.store import from_url

EXPLANATIONS = "explanations"
IMAGES = "images"  # uploaded by themselves
BATCHES = "batches"  # archives that batches were uploaded as, until they are read
PREDICTIONS = "predictions"  # images that somebody asked a model about; each is there for one answer
_PART_BYTES = 1_000_000


class Blobs:
    """Bytes and arrays by name.

    Args:
        url: `file:///...`, `s3://...`, `gs://...`, `az://...`.
    """

    def __init__(self, url: str) -> None:
        local = url.startswith("file:")
        self._store = from_url(url, mkdir=True, automatic_cleanup=True) if local else from_url(url)

    def ping(self) -> None:
        """Raise if nothing can be written."""
        self.put("ping", b"pong")

    def put(self, name: str, content: bytes) -> None:
        """Write an object, replacing one of the same name in one step."""
        obstore.put(self._store, name, content)

    def get(self, name: str) -> bytes:
        """Read an object.

        Raises:
            FileNotFoundError: if there is none.
        """
        return bytes(obstore.get(self._store, name).bytes())

    def put_file(self, name: str, file: IO[bytes]) -> None:
        """Write an object from a file, part by part."""
        obstore.put(self._store, name, iter(partial(file.read, _PART_BYTES), b""))

    def open(self, name: str) -> IO[bytes]:
        """Open an object for reading here and there.

        Raises:
            FileNotFoundError: if there is none.
        """
        return io.BufferedReader(_Seekable(obstore.open_reader(self._store, name)), _PART_BYTES)

    def put_array(self, name: str, array: NDArray[Any]) -> None:
        """Write an array in NumPy's own format."""
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        self.put(name, buffer.getvalue())

    def get_array(self, name: str) -> NDArray[Any]:
        """Read an array; never unpickles.

        Raises:
            FileNotFoundError: if there is none.
        """
        array: NDArray[Any] = np.load(io.BytesIO(self.get(name)), allow_pickle=False)
        return array

    def names(self, prefix: str, *, before: datetime | None = None) -> list[str]:
        """Return the names of the objects in a folder, or of those that were last written before a moment."""
        return [
            item["path"]
            for batch in obstore.list(self._store, prefix=prefix)
            for item in batch
            if before is None or item["last_modified"] < before
        ]

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects; those that are gone already are no error."""
        try:
            obstore.delete(self._store, names)
        except FileNotFoundError:  # because somebody else deletes too; only local folders say so
            for name in names:
                with suppress(FileNotFoundError):
                    obstore.delete(self._store, name)

    def delete_all(self, folder: str) -> None:
        """Delete every object in a folder."""
        self.delete(self.names(folder))


def folder_of(explanation_id: str) -> str:
    """Return the folder that holds everything of an explanation."""
    return f"{EXPLANATIONS}/{explanation_id}"


def owner_of(name: str) -> str:
    """Return the id of the explanation, image or batch that an object belongs to."""
    return name.split("/")[1]


class _Seekable(io.RawIOBase):
    """An object that reads like a file; obstore's own reader returns no bytes."""

    def __init__(self, reader: "obstore.ReadableFile") -> None:
        self._reader = reader

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._reader.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        part = self._reader.read(len(buffer))
        buffer[: len(part)] = memoryview(part)
        return len(part)


def image_blob(explanation_id: str) -> str:
    """Return the name of an explanation's uploaded image."""
    return f"{folder_of(explanation_id)}/image"


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


def effects_blob(explanation_id: str, execution: str, first: int) -> str:
    """Return the name of a checkpoint; it carries the execution, so that a late writer spoils nothing."""
    return f"{folder_of(explanation_id)}/effects/{first:08d}-{execution}.npy"
