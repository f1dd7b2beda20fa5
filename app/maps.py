"""One map of an explanation, drawn from its stored effects and encoded: what the maps route and the CLI do."""

from app.contract.blobs import Blobs, image_blob
from app.contract.drawing import draw
from app.contract.errors import RiseError
from app.contract.geometry import frame_of_image
from app.contract.images import decode
from app.contract.schemas import Record
from app.formats import Sheet


def sheet_of(record: Record, blobs: Blobs, index: int, *, max_side: int | None) -> Sheet:
    """Draw one target's map at the size of the uploaded image, or smaller.

    Raises:
        RiseError: `not-found` for a target that does not exist, `not-ready` before the first block.
    """
    state = record.state
    if state is None or not state.checkpoints:
        raise RiseError("not-ready", _why_not(record), retry_after_seconds=None if record.status.ended else 1)
    if not 0 <= index < len(record.targets):
        raise RiseError("not-found", f"there is no target {index}; this explanation has {len(record.targets)}")
    frame = frame_of_image(record.image.width, record.image.height, max_side=max_side)
    arrays = (blobs.get_array(checkpoint.blob) for checkpoint in state.checkpoints)
    drawn = draw(state, arrays, state.target_rows[index], frame)
    return Sheet(drawn, state.fills, record.targets[index], record, lambda: decode(blobs.get(image_blob(record.id))))


def _why_not(record: Record) -> str:
    if record.error is not None:
        return f"there is no map: the explanation failed: {record.error.detail}"
    if record.status.ended:
        return f"there is no map: the explanation was {record.status.value} before its first block"
    return f"there is no map yet: the explanation is {record.status.value}"
