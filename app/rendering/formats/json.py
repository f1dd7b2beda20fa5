"""The map as nested lists, with all that is known about it: for programs without NumPy.

Values have four digits of the strongest one, in units of the score. Text is large, so the longer side has at most 512
pixels; `?max_side=` makes it smaller.
"""

import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.rendering.formats import RenderedMap, RenderOptions

ENDING = "json"
MEDIA_TYPE = "application/json"
MAX_SIDE = 512

_DIGITS = 4


def encode(rendered: RenderedMap, _: RenderOptions) -> bytes:
    """Return the bytes of a JSON object; `values` is `[H][W]`, or `[K][H][W]` where there are K > 1 fills."""
    drawn, record = rendered.drawn, rendered.record
    decimals = _decimals(drawn.values)
    values = np.round(drawn.values.astype(np.float64), decimals)
    content: dict[str, Any] = {
        "id": record.id,
        "status": record.status,
        "model": record.request.model.model_dump(),
        "method": record.request.method,
        "parameters": record.parameters,
        "target": rendered.target.model_dump(mode="json"),
        "consistency": record.consistency,
        "fills": rendered.fills,
        "image": {"width": record.image.width, "height": record.image.height},
        "width": drawn.values.shape[2],
        "height": drawn.values.shape[1],
        "low": float(values.min()),
        "high": float(values.max()),
        "reliability": drawn.reliability,
        "standard_error": _summary(drawn.standard_error, decimals + 1),
        "degrees_of_freedom": drawn.degrees_of_freedom,
        "values": (values[0] if len(values) == 1 else values).tolist(),
    }
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()


def _decimals(values: NDArray[np.float32]) -> int:
    strongest = float(np.abs(values).max())
    return _DIGITS - 1 - math.floor(math.log10(strongest)) if strongest > 0 else 0


def _summary(error: NDArray[np.float32] | None, decimals: int) -> dict[str, float] | None:
    if error is None:
        return None
    return {"mean": round(float(error.mean()), decimals), "max": round(float(error.max()), decimals)}
