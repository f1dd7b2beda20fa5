"""The results of a batch as one archive, made while it is sent: no more than the files of one map are in memory."""

import json
import re
import zipfile
from collections import deque
from collections.abc import Iterator
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
    """Where an archive is written to, and taken from."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, part: bytes) -> int:
        self._parts.append(bytes(part))
        return len(part)

    def flush(self) -> None:
        """Do nothing: what was written is there."""

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def iter_items(
    batch: BatchRecord, batches: BatchStore, store: ExplanationStore
) -> Iterator[tuple[BatchItem, ExplanationRecord | None]]:
    """Yield the images of a batch with their explanations, as far as there are any."""
    for first in range(0, batch.total, _PAGE):
        for member in batches.members(batch.id, range(first, first + _PAGE)):
            yield member, store.read(member.explanation) if member.explanation else None


def error_entry(error: RiseError) -> JsonObject:
    """Return why an explanation that has succeeded has no map."""
    if isinstance(error, StorageError):
        return {"code": error.code, "detail": f"its maps cannot be drawn now: {error}"}
    if isinstance(error, BlobNotFoundError):
        return {"code": error.code, "detail": f"its maps cannot be drawn any more: {error}"}
    return {"code": error.code, "detail": error.detail}


def stream_zip(
    batch: BatchRecord, batches: BatchStore, store: ExplanationStore, renderer: Renderer, endings: list[str]
) -> Iterator[bytes]:
    """Yield a zip archive: a folder of maps for each image that has them, and `manifest.json` last.

    A map that cannot be drawn is an error in the manifest, and one that would mean nothing is one of its target there;
    the rest goes on.

    Args:
        endings: of the formats of maps, e.g. `npz`.
    """
    outlet = _ChunkBuffer()
    rows: list[JsonObject] = []
    with zipfile.ZipFile(outlet, "w") as archive:  # type: ignore[call-overload]  # it needs no more than `write`
        for member, record in iter_items(batch, batches, store):
            row = _row(batch, member, record)
            for name, content in _files(member, record, renderer, endings, row):
                archive.writestr(name, content)
                yield outlet.taken()
            rows.append(row)
        manifest = {"batch": batch.id, "request": batch.request.model_dump(mode="json"), "images": rows}
        archive.writestr("manifest.json", json.dumps(manifest, indent=1), zipfile.ZIP_DEFLATED)
    yield outlet.taken()


def _row(batch: BatchRecord, member: BatchItem, record: ExplanationRecord | None) -> JsonObject:
    failure = member.error or (record.error if record else None)
    return {
        "index": member.index,
        "name": member.name,
        "status": item_status(batch, member, record.status if record else None),
        "explanation": member.explanation,
        "error": failure.model_dump() if failure else None,
        "targets": [target.model_dump(mode="json") for target in record.targets] if record else [],
        "files": [],
    }


def _files(
    member: BatchItem, record: ExplanationRecord | None, renderer: Renderer, endings: list[str], row: JsonObject
) -> Iterator[tuple[str, bytes]]:
    if record is None or record.status is not Status.SUCCEEDED:
        return
    folder = f"{member.index:05d}-{_safe(member.name)}"
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


def _encoded(sheet: RenderedMap, endings: list[str]) -> deque[tuple[str, bytes]]:
    return deque((ending, formats()[ending].encode(sheet, RenderOptions())) for ending in endings)


def _safe(name: str) -> str:
    """Return a name that is a harmless folder everywhere."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", PurePosixPath(name).stem)[:60].strip("-") or "image"
