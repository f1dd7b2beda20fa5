"""Images and effects in an object store: a local folder, S3, GCS or Azure, by URL (obstore).

Names derive from ids only. An object appears whole or not at all: obstore writes beside and renames.
"""

import io
from typing import Any

import numpy as np
import obstore
from numpy.typing import NDArray
from obstore.store import from_url


class Blobs:
    """Bytes and arrays by name.

    Args:
        url: `file:///...`, `s3://...`, `gs://...`, `az://...`.
    """

    def __init__(self, url: str) -> None:
        self._store = from_url(url, mkdir=True) if url.startswith("file:") else from_url(url)

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

    def delete_all(self, prefix: str) -> None:
        """Delete every object whose name starts with a folder prefix."""
        for batch in obstore.list(self._store, prefix=prefix):
            obstore.delete(self._store, [item["path"] for item in batch])


def image_blob(explanation_id: str) -> str:
    """Return the name of an explanation's uploaded image."""
    return f"explanations/{explanation_id}/image"


def effects_blob(explanation_id: str, execution: str, first: int) -> str:
    """Return the name of a checkpoint; it carries the execution, so that a late writer spoils nothing."""
    return f"explanations/{explanation_id}/effects/{first:08d}-{execution}.npy"
