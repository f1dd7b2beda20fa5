"""Map, standard error, target and parameters in one NumPy archive; nothing in it needs unpickling."""

import io
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.rendering.formats import RenderedMap, RenderOptions

ENDING = "npz"
MEDIA_TYPE = "application/x-npz"


def encode(rendered: RenderedMap, _: RenderOptions) -> bytes:
    """Return the bytes of a `.npz` file; what is unknown after one block is left out."""
    drawn, request = rendered.drawn, rendered.record.request
    arrays: dict[str, NDArray[Any]] = {
        "map": _squeezed(drawn.values),
        "target": np.array(rendered.target.model_dump_json()),
        "parameters": np.array(json.dumps(rendered.record.parameters)),
        "model": np.array(request.model.model_dump_json()),
        "method": np.array(request.method),
    }
    if rendered.target.evidence is not None:
        arrays["evidence"] = np.array(rendered.target.evidence.model_dump_json())
    if rendered.record.consistency is not None:
        arrays["consistency"] = np.array(rendered.record.consistency)
    if drawn.standard_error is not None:
        arrays["standard_error"] = _squeezed(drawn.standard_error)
        arrays["degrees_of_freedom"] = np.array(drawn.degrees_of_freedom)
    if drawn.reliability is not None:
        arrays["reliability"] = np.array(drawn.reliability, dtype=np.float32)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _squeezed(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values[0] if len(values) == 1 else values
