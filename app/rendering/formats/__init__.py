"""Output formats of a map: one file per format.

To add one, write `app/rendering/formats/NAME.py` with

    ENDING = "npy"                    what stands behind the index in the map's address
    MEDIA_TYPE = "application/x-npy"  what a client names in `Accept`; npy wins a tie, png one of images
    MAX_SIDE = 512                    only where larger maps make no sense in this format
    ONE_FILL = True                   only where it shows one fill: of several, a client must choose one
    def encode(rendered: RenderedMap, options: RenderOptions) -> bytes

Nothing else has to be registered: the address, the links and the tests find it.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from types import ModuleType

import numpy as np
from PIL import Image
from pydantic import Field

from app.contract.errors import invalid_field
from app.contract.plugins import plugin, plugin_names
from app.contract.saliency.geometry import Array
from app.contract.saliency.rendering import SaliencyMap
from app.contract.schemas import ExplanationRecord, RequestModel, TargetResult


class Bits(IntEnum):
    """Bit depths of a grey image."""

    EIGHT = 8
    SIXTEEN = 16


class RenderOptions(RequestModel):
    """How images look and where regions end; arrays ignore it."""

    alpha: float = Field(0.7, ge=0, le=1, description="Opacity of the strongest colour of an overlay.")
    cmap: str | None = Field(None, max_length=100, description="A colour map's name.", examples=["viridis"])
    signed: bool = Field(False, description="Show effects below 0 too.")
    bits: Bits | None = Field(
        None, description="`png`: grey for tools instead of colours, so many bits deep.", examples=[16]
    )
    level: float = Field(
        0.5,
        gt=0,
        le=1,
        examples=[0.5],
        description="`mask` and `coco`: share of the positive saliency that the region holds; it is the smallest one.",
    )


@dataclass(frozen=True)
class RenderedMap:
    """The input of a format.

    Attributes:
        drawn: the map, `[K, H, W]`, and its error bars.
        fills: the name of each fill K.
        target: what the map explains.
        record: the explanation.
        image: returns the upright image; called only by formats that show it.
    """

    drawn: SaliencyMap
    fills: list[str]
    target: TargetResult
    record: ExplanationRecord
    image: Callable[[], Image.Image]


def require_single_fill(rendered: RenderedMap) -> Array:
    """Return the map `[H, W]` for a format that shows one fill.

    Raises:
        RiseError: `invalid-parameters` where there are several to choose from.
    """
    if len(rendered.fills) > 1:
        raise invalid_field("/fill", f"this format shows one of them: {', '.join(rendered.fills)}")
    return np.asarray(rendered.drawn.values[0])


@cache  # because folders do not change while a process lives, and every status read asks
def formats() -> dict[str, ModuleType]:
    """Return all formats by their ending."""
    package = sys.modules[__name__]
    modules = [plugin(package, name) for name in plugin_names(package)]
    return {module.ENDING: module for module in modules}


@cache  # because folders do not change while a process lives, and every status read asks
def format_names() -> dict[str, str]:
    """Return the ending of each format by the format's name."""
    package = sys.modules[__name__]
    return {name: plugin(package, name).ENDING for name in plugin_names(package)}


@cache  # because folders do not change while a process lives, and every status read asks
def format_names_for(fills: int) -> dict[str, str]:
    """Return the ending of each format that shows a map of so many fills as it is, by the format's name."""
    names, modules = format_names(), formats()
    return {name: end for name, end in names.items() if fills == 1 or not getattr(modules[end], "ONE_FILL", False)}
