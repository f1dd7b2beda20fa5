"""The results of a batch as a streamed zip archive; the files of one map at a time are in memory."""

import json
import re
import zipfile
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import PurePosixPath

from app.batches.status import item_status
from app.batches.store import BatchItem, BatchRecord, BatchStore
from app.contract.errors import BlobNotFoundError, RiseError, StorageError
from app.contract.explanations.store import ExplanationStore
from app.contract.schemas import ExplanationRecord, JsonObject, Status
from app.rendering.formats import RenderedMap, RenderOptions, formats
from app.rendering.renderer import Renderer

_PAGE = 50


class _ChunkBuffer:
    """An unseekable file whose content is taken out while an archive is written to it."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, part: bytes) -> int:
        self._parts.append(bytes(part))
        return len(part)

    def flush(self) -> None:
        """Do nothing, because nothing is buffered."""

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def iter_items(
    batch: BatchRecord, batches: BatchStore, store: ExplanationStore, order: Sequence[int] | None = None
) -> Iterator[tuple[BatchItem, ExplanationRecord | None]]:
    """Yield the items of a batch, by their indices or in another order, each with its explanation or None."""
    indices = order if order is not None else range(batch.total)
    for first in range(0, batch.total, _PAGE):
        for item in batches.members(batch.id, indices[first : first + _PAGE]):
            yield item, store.read(item.explanation) if item.explanation else None


def error_entry(error: RiseError) -> JsonObject:
    """Return the manifest's error for an explanation that has succeeded but whose map cannot be rendered."""
    if isinstance(error, StorageError):
        return {"code": error.code, "detail": f"its maps cannot be drawn now: {error}"}
    if isinstance(error, BlobNotFoundError):
        return {"code": error.code, "detail": f"its maps cannot be drawn any more: {error}"}
    return {"code": error.code, "detail": error.detail}


def stream_zip(
    batch: BatchRecord, batches: BatchStore, store: ExplanationStore, renderer: Renderer, endings: list[str]
) -> Iterator[bytes]:
    """Yield a zip archive: a folder of maps for each image that has them, and `manifest.json` last.

    A map that cannot be rendered is an error in the manifest; a target without a map has its error there.

    Args:
        endings: of the formats of maps, e.g. `npz`.
    """
    buffer = _ChunkBuffer()
    rows: list[JsonObject] = []
    with zipfile.ZipFile(buffer, "w") as archive:  # type: ignore[call-overload]  # it needs no more than `write`
        for item, record in iter_items(batch, batches, store):
            row = _row(batch, item, record)
            for name, content in _files(item, record, renderer, endings, row):
                archive.writestr(name, content)
                yield buffer.take()
            rows.append(row)
        manifest = {"batch": batch.id, "request": batch.request.model_dump(mode="json"), "images": rows}
        archive.writestr("manifest.json", json.dumps(manifest, indent=1), zipfile.ZIP_DEFLATED)
    yield buffer.take()


def _row(batch: BatchRecord, item: BatchItem, record: ExplanationRecord | None) -> JsonObject:
    failure = item.error or (record.error if record else None)
    return {
        "index": item.index,
        "name": item.name,
        "status": item_status(batch, item, record.status if record else None),
        "explanation": item.explanation,
        "consistency": record.consistency if record else None,
        "error": failure.model_dump() if failure else None,
        "targets": [target.model_dump(mode="json") for target in record.targets] if record else [],
        "files": [],
    }


def _files(
    item: BatchItem, record: ExplanationRecord | None, renderer: Renderer, endings: list[str], row: JsonObject
) -> Iterator[tuple[str, bytes]]:
    if record is None or record.status is not Status.SUCCEEDED:
        return
    folder = f"{item.index:05d}-{_safe(item.name)}"
    try:
        for target in (target for target in record.targets if target.error is None):
            files = renderer.render_target(record, target.index, partial(_encoded, endings=endings))
            while files:
                ending, content = files.popleft()
                name = f"{folder}/{target.index}.{ending}"
                yield name, content
                row["files"].append(name)
    except RiseError as error:
        row["error"] = error_entry(error)


def _encoded(rendered: RenderedMap, endings: list[str]) -> deque[tuple[str, bytes]]:
    return deque((ending, formats()[ending].encode(rendered, RenderOptions())) for ending in endings)


def _safe(name: str) -> str:
    """Return a name that is a valid folder on every file system."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", PurePosixPath(name).stem)[:60].strip("-") or "image"
