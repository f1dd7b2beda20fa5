"""Parameters that all methods share. A method's own model extends this one; its JSON Schema is in the catalogue.

The front end checks requests against that schema; this model is what the schema is made from.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from app.contract.schemas import RequestModel
from workers.fills import COLOR, fill_names, is_fill

Side = Annotated[int, Field(ge=1, le=64)]
Grid = Side | tuple[Side, Side]
MAX_MASKS = 1_000_000


def _known_fill(name: str) -> str:
    if not is_fill(name):
        raise ValueError(f"{name!r} is no fill; choose from {', '.join(fill_names())}, or #rrggbb")
    return name


def _distinct(names: list[str]) -> list[str]:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice!r} is in the list twice; each fill takes as many turns as the others")
    return names


_FILL_SCHEMAS: list[dict[str, Any]] = [{"enum": list(fill_names())}, {"type": "string", "pattern": f"^{COLOR}$"}]
_TURNS_SCHEMA = {"type": "array", "items": {"anyOf": _FILL_SCHEMAS}, "minItems": 1, "maxItems": 8, "uniqueItems": True}

Fill = Annotated[str, AfterValidator(_known_fill), WithJsonSchema({"anyOf": _FILL_SCHEMAS})]

Fills = Annotated[
    Fill | Annotated[list[Fill], Field(min_length=1, max_length=8), AfterValidator(_distinct)],
    WithJsonSchema({"anyOf": [*_FILL_SCHEMAS, _TURNS_SCHEMA]}),
]
"""One fill, or several of which each block has the next one."""


def in_turns(fills: str | list[str]) -> str:
    """Return the name of one fill, or of several that take turns."""
    return fills if isinstance(fills, str) else ",".join(fills)


def turns_of(names: list[str]) -> list[tuple[str, ...]]:
    """Return for each turn the names of its K fills.

    Args:
        names: of K fills, each one or several that take turns.
    """
    return list(zip(*(name.split(",") for name in names), strict=True))


class MaskingParameters(RequestModel):
    """How many masks, how they are drawn, and when to stop."""

    masks: int = Field(4000, ge=1, le=MAX_MASKS, description="Upper bound of masks; rounded up to whole blocks.")
    until: float = Field(
        0.95, ge=0, le=1, description="Stop as soon as every target's reliability reaches this; 1 uses all masks."
    )
    grid: Grid | Literal["auto"] = Field(8, description="Cells along each side, or [rows, columns].")
    keep: float = Field(0.5, ge=0.05, le=0.95, description="Chance that a cell stays visible.")
    estimator: Literal["contrast", "paper"] = Field(
        "contrast", description="`contrast`: effects per cell with error bars; `paper`: as published, for comparison."
    )
    shrink: bool = Field(
        False,
        description="Shrink the map towards zero where it is mostly noise: as good as 1.5 to 2 times the masks, but no "
        "longer linear in the score. Error bars stay. `contrast` only.",
    )
    evidence: bool = Field(
        True, description="Say how far each map can be trusted, for about 20 passes more. `contrast` only."
    )
    opacity: float = Field(
        1.0,
        gt=0,
        le=1,
        description="How much masks hide: 1 all of a region, 0.3 a part of it; a second view on models that may notice "
        "masks.",
    )
    canvas: Literal["model", "image"] = Field(
        "model", description="Draw masks on the model's input, or on the uploaded image at its own size."
    )
    seed: int = Field(0, ge=0, le=2**63 - 1, description="The same seed gives the same map.")

    @property
    def cells(self) -> tuple[int, int]:
        """Cells along the height and along the width, once they are chosen.

        Raises:
            ValueError: while `grid` is `auto`.
        """
        if self.grid == "auto":
            raise ValueError("the grid is chosen when the targets are known")
        return (self.grid, self.grid) if isinstance(self.grid, int) else self.grid
