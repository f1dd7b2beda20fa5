"""Maps of explanations, rendered from their stored effects by a bounded number of threads."""

from asyncio import wrap_future
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from app.contract.errors import FieldError, RiseError, invalid_field
from app.contract.images.decoding import decode
from app.contract.saliency.geometry import viewport_of_image
from app.contract.saliency.rendering import SaliencyMap, draw
from app.contract.schemas import ExplanationRecord, ImageInfo, State, Status, TargetResult
from app.contract.storage.object_store import BlobStore, image_blob
from app.rendering.formats import RenderedMap

T = TypeVar("T")

_THREADS = 4
_LARGE_PIXELS = 8_000_000

_UPGRADE_SECONDS = 5.0


@dataclass(frozen=True)
class MapTarget:
    """What a map shows.

    Attributes:
        target: what is explained.
        row: where its effects are.
    """

    target: TargetResult
    row: int


def target_at(record: ExplanationRecord, index: int) -> MapTarget:
    """Return a target of an explanation.

    Raises:
        RiseError: `not-found` for a target that does not exist, `not-ready` before the first block.
    """
    state = _ready(record)
    if not 0 <= index < len(record.targets):
        raise RiseError("not-found", f"there is no target {index}; this explanation has {len(record.targets)}")
    return MapTarget(record.targets[index], state.target_rows[index])


def require_meaningful_map(record: ExplanationRecord, target: TargetResult) -> None:
    """Raise if the map of a target is 0 everywhere because nothing matched.

    Raises:
        RiseError: with the reason; `no-target`, or `not-ready` where more blocks may still find something.
    """
    if target.error is None:
        return
    if record.status.ended:
        raise RiseError("no-target", f"target {target.index} has no map: {target.error.detail}")
    raise RiseError("not-ready", f"target {target.index} has no map yet: {target.error.detail}", retry_after_seconds=1)


def resolve_class(record: ExplanationRecord, label: str, names: Sequence[str]) -> MapTarget:
    """Return a class of the explained model, also one that the request did not name.

    Args:
        record: the explanation of a classifier.
        label: the name or the index of the class.
        names: of all classes of the model; empty if no live worker announces them.

    Raises:
        RiseError: `not-found` for a class that does not exist, `not-kept` for one whose effects were not kept,
            `not-ready` before the first block.
    """
    state = _ready(record)
    if not state.rows:
        raise RiseError("not-kept", "the effects of a detector belong to boxes, not to classes: see its targets")
    index = _class_index(record, label, names)
    requested = [target for target in record.targets if target.label == index]
    if requested:
        return target_at(record, requested[0].index)
    if index not in state.rows:
        raise RiseError("not-kept", _why_not_kept(state))
    target = TargetResult(index=-1, label=index, name=names[index] if names else None, score=None)
    return MapTarget(target, state.rows.index(index))


def _class_index(record: ExplanationRecord, label: str, names: Sequence[str]) -> int:
    known = {name: index for index, name in reversed(list(enumerate(names)))}
    known = known or {
        target.name: target.label for target in record.targets if target.name and target.label is not None
    }
    if label in known:
        return known[label]
    if label.isascii() and label.isdecimal() and len(label) < 10 and (not names or int(label) < len(names)):
        return int(label)
    choices = list(names or known)
    more = f" and {len(choices) - 20} more" if len(choices) > 20 else ""
    detail = f"there is no class {label!r}; choose an index or a name: {', '.join(choices[:20])}{more}"
    raise RiseError("not-found", detail, errors=[FieldError("/label", detail)])


def _why_not_kept(state: State) -> str:
    if state.kind == "moments":
        return "the published estimator and Grad-CAM are of the classes that were asked for; name it in `targets`"
    return "with so many classes only the effects of those that were asked for are kept; name it in `targets`"


class Renderer:
    """Renders maps in threads of its own, whose number bounds the memory: one for large images, four for all others.

    A map of a large image takes most of a gigabyte until it is encoded, so it is encoded in the same threads.

    Args:
        blobs: where effects and images are.
    """

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="render")
        self._large_image_thread = ThreadPoolExecutor(1, thread_name_prefix="render-large")

    def render(
        self,
        record: ExplanationRecord,
        subject: MapTarget,
        make: Callable[[RenderedMap], T],
        *,
        max_side: int | None = None,
        fill: str | None = None,
    ) -> T:
        """Render a map at the size of the uploaded image, or smaller, and return what `make` returns for it.

        Reliability and peak of a class that was not requested, or of one fill of several, are computed from this map.

        Args:
            record: an explanation.
            subject: what its map shows.
            make: converts the map, for example to a file; must not render itself, nor keep the map.
            max_side: longest side of the map in pixels; None: the image's own.
            fill: the one of several fills that is rendered; None: all.

        Raises:
            RiseError: `invalid-parameters` for a fill that the explanation does not have; what `make` raises.
        """
        return self.run(record.image, self._work(record, subject, make, max_side=max_side, fill=fill))

    async def render_async(
        self,
        record: ExplanationRecord,
        subject: MapTarget,
        make: Callable[[RenderedMap], T],
        *,
        max_side: int | None = None,
        fill: str | None = None,
    ) -> T:
        """Render for code on the event loop: a call that waits for a thread of the renderer holds no other."""
        work = self._work(record, subject, make, max_side=max_side, fill=fill)
        return await wrap_future(self._submit(record.image, work))

    def render_target(
        self, record: ExplanationRecord, index: int, make: Callable[[RenderedMap], T], *, max_side: int | None = None
    ) -> T:
        """Render the map of one target and return what `make` returns for it.

        Raises:
            RiseError: as `target_at`, `require_meaningful_map` and `render`.
        """
        subject = target_at(record, index)
        require_meaningful_map(record, subject.target)
        return self.render(record, subject, make, max_side=max_side)

    def run(self, image: ImageInfo, work: Callable[[], T]) -> T:
        """Run work that holds an image of this size in memory, and return its result."""
        return self._submit(image, work).result()

    def close(self) -> None:
        """Cancel what has not begun."""
        for threads in (self._threads, self._large_image_thread):
            threads.shutdown(wait=False, cancel_futures=True)

    def _submit(self, image: ImageInfo, work: Callable[[], T]) -> Future[T]:
        large = image.width * image.height > _LARGE_PIXELS
        return (self._large_image_thread if large else self._threads).submit(copy_context().run, work)

    def _work(
        self,
        record: ExplanationRecord,
        subject: MapTarget,
        make: Callable[[RenderedMap], T],
        *,
        max_side: int | None,
        fill: str | None,
    ) -> Callable[[], T]:
        return lambda: make(_render(record, self._blobs, subject, max_side=max_side, fill=fill))


def _render(
    record: ExplanationRecord, blobs: BlobStore, subject: MapTarget, *, max_side: int | None, fill: str | None
) -> RenderedMap:
    state = _ready(record)
    viewport = viewport_of_image(record.image.width, record.image.height, max_side=max_side)
    selected = slice(None) if fill is None else _fill_slice(fill, state.fills)
    row = slice(subject.row, subject.row + 1)
    names = [checkpoint.blob for checkpoint in state.checkpoints]
    drawn = draw(state, blobs.get_arrays(names, lambda array: array[:, row, selected].copy()), 0, viewport)
    fills, target = state.fills[selected], subject.target
    if target.index < 0 or fills != state.fills or target.peak is None:
        target = target.model_copy(update={"reliability": drawn.reliability, "peak": _peak(drawn, record)})
    return RenderedMap(drawn, fills, target, record, lambda: decode(blobs.get(image_blob(record.id))))


def _fill_slice(fill: str, fills: list[str]) -> slice:
    if fill not in fills:
        raise invalid_field("/fill", f"this explanation has {', '.join(fills)}")
    index = fills.index(fill)
    return slice(index, index + 1)


def _peak(drawn: SaliencyMap, record: ExplanationRecord) -> tuple[float, float]:
    """Return x, y of the largest value, of several fills the strongest, in pixels of the image."""
    values = drawn.values if len(drawn.values) == 1 else np.abs(drawn.values)
    _, row, column = np.unravel_index(int(values.argmax()), values.shape)
    height, width = values.shape[1:]
    return (float(column) + 0.5) * record.image.width / width, (float(row) + 0.5) * record.image.height / height


def _ready(record: ExplanationRecord) -> State:
    if record.state is None and record.status is Status.SUCCEEDED:
        detail = "a newer version of the service stored this map in a way that is not known here"
        raise RiseError("unavailable", detail, retry_after_seconds=_UPGRADE_SECONDS)
    if record.state is None or not record.state.checkpoints:
        raise RiseError("not-ready", _why_not(record), retry_after_seconds=None if record.status.ended else 1)
    return record.state


def _why_not(record: ExplanationRecord) -> str:
    if record.error is not None:
        return f"there is no map: the explanation failed: {record.error.detail}"
    if record.status.ended:
        return f"there is no map: the explanation was {record.status.value} before its first block"
    return f"there is no map yet: the explanation is {record.status.value}"
