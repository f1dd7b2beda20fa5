"""What is assumed about a model, and whence: the models file, the model's own file, a check, or a convention."""

from typing import Any

from app.contract.schemas import Assumption, AssumptionSource
from workers.blackbox import BlackBox
from workers.model_io.model_entry import ModelEntry


class Assumptions:
    """Collects what is assumed while a model is loaded.

    Args:
        entry: what the models file says.
        merged: the same, completed by what the model's own file says.
    """

    def __init__(self, entry: ModelEntry, merged: ModelEntry) -> None:
        self._from_entry = _flat(entry)
        self._from_file = _flat(merged)
        self._noted: dict[str, Assumption] = {}

    def note(self, what: str, value: object, *, by_default: AssumptionSource) -> None:
        """Record an assumption; its source is the entry or the file where one of them says it, else `by_default`."""
        source = by_default
        if what in self._from_entry:
            source = "entry"
        elif what in self._from_file:
            source = "file"
        self._noted[what] = Assumption.model_validate({"what": what, "value": str(value), "from": source})

    def noted(self) -> tuple[Assumption, ...]:
        """Return what was recorded so far."""
        return tuple(self._noted.values())

    def complete(
        self, black_box: BlackBox, *, preprocessing: AssumptionSource = "convention"
    ) -> tuple[Assumption, ...]:
        """Return all assumptions, with those about labels and pictures.

        Args:
            black_box: what is loaded.
            preprocessing: whence it is known how pictures are prepared, where the entry does not say it.
        """
        labels = black_box.labels
        numbered = labels == tuple(map(str, range(len(labels))))
        self.note(
            "labels", "numbers" if numbered else f"{len(labels)} names", by_default="convention" if numbered else "file"
        )
        found = black_box.preprocessing
        self.note("preprocessing.size", found.size or "any", by_default="file")
        for name in ("channels", "resize", "interpolation", "mean", "std"):
            self.note(f"preprocessing.{name}", getattr(found, name), by_default=preprocessing)
        return self.noted()


def assumptions_of(
    entry: ModelEntry, completed: ModelEntry, black_box: BlackBox, *, preprocessing: AssumptionSource = "file"
) -> tuple[Assumption, ...]:
    """Return what is assumed about a model whose library says everything that the entry leaves open.

    Args:
        entry: what the models file says.
        completed: the same, with the task and the meaning of outputs from the library.
        black_box: the loaded model.
        preprocessing: whence it is known how pictures are prepared, where the entry does not say it.
    """
    assumptions = Assumptions(entry, completed)
    assumptions.note("task", completed.task, by_default="file")
    for name, value in completed.outputs.model_dump(exclude_none=True).items():
        assumptions.note(f"outputs.{name}", value, by_default="file")
    return assumptions.complete(black_box, preprocessing=preprocessing)


def _flat(entry: ModelEntry) -> dict[str, Any]:
    """Return the fields that an entry has, by their names in the models file."""
    flat: dict[str, Any] = {}
    for name, value in entry.model_dump(exclude_none=True).items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": one for inner, one in value.items()}
        else:
            flat[name] = value
    return flat
