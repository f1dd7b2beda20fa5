"""The results of a batch as a streamed zip archive; the files of one map at a time are in memory."""

import json
import re
import zipfile
from collections import deque
from collections.abc import Iterator
from functools import partial
from pathlib import PurePosixPath

from app.batches.exports.explained_items import error_entry, failure_of, image_fields, iter_items
from app.batches.store import BatchItem, BatchRecord, BatchStore
from app.contract.errors import RiseError
from app.contract.explanations.store import ExplanationStore
from app.contract.schemas import ExplanationRecord, JsonObject, Status
from app.rendering.formats import RenderedMap, RenderOptions, formats
from app.rendering.renderer import Renderer


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
    failure = failure_of(item, record)
    return {
        **image_fields(batch, item, record),
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
