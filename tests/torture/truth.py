"""What must have come out: every question once more, undisturbed and without a service, beside all that was fetched.

Maps may differ by rounding alone: batches begin elsewhere after a resumption, and sums of floats depend on their order.
"""

import io
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.contract.errors import RiseError
from app.contract.storage.object_store import BlobStore
from app.rendering.formats import RenderOptions, npy
from app.rendering.renderer import Renderer
from tests.torture.ledger import Entry, Ledger, Map
from tests.torture.requests import Question
from workers.blackbox.device import choose_device
from workers.execution.local_run import explain_locally
from workers.registry.model_registry import LoadedModel, ModelRegistry

TOLERANCE = 2e-6


@dataclass(frozen=True)
class Truth:
    """What an undisturbed run gives.

    Attributes:
        failure: code of the failure; empty for a success.
        masks_used: of a success.
        maps: of a success, by target.
    """

    failure: str
    masks_used: int = 0
    maps: tuple[Map, ...] = ()

    def disagrees(self, entry: Entry) -> str:
        """Return in which way an explanation came to another end than it should; empty where it did not."""
        if entry.fate == "failed" or self.failure:
            return "" if entry.failure == self.failure else f"failed as {entry.failure!r}, not as {self.failure!r}"
        if entry.masks_used != self.masks_used:
            return f"used {entry.masks_used} masks, not {self.masks_used}"
        if len(entry.maps) != len(self.maps):
            return f"has {len(entry.maps)} maps, not {len(self.maps)}"
        error = max((difference(one, other) for one, other in zip(entry.maps, self.maps, strict=True)), default=0.0)
        return "" if error <= 1 else f"a map is off by {error:.3g} tolerances"


def difference(one: Map, other: Map) -> float:
    """Return the largest difference of two maps, in tolerances: of 1, or of their largest value where that is more."""
    if one.shape != other.shape:
        return float("inf")
    largest = max(1.0, float(np.abs(other).max(initial=0.0)))
    return float(np.abs(one - other).max(initial=0.0)) / (TOLERANCE * largest)


def check(ledger: Ledger, asked: list[Question], models: Path) -> None:
    """Compare everything that ended by itself with the truth, and complain."""
    collection = ModelRegistry(models, choose_device("cpu"))
    collection.load_all()
    ended = [entry for entry in ledger.entries if entry.fate in {"succeeded", "failed"}]
    truths = {number: undisturbed(collection, asked[number]) for number in {entry.question for entry in ended}}
    for entry in ended:
        found = truths[entry.question].disagrees(entry)
        if found:
            wrong = f"{entry.explanation_id} ({asked[entry.question]}) {found}"
            ledger.complain("wrong" if entry.fate == "succeeded" else "lost", wrong)


def undisturbed(collection: ModelRegistry, question: Question) -> Truth:
    """Return the truth about a question."""
    with tempfile.TemporaryDirectory() as folder:
        model: LoadedModel = collection.get(question.fields["model"])
        try:
            record = explain_locally(model, question.image, question.fields, Path(folder), lambda _: None)
        except RiseError as error:
            return Truth(error.code)
        renderer = Renderer(BlobStore(Path(folder).as_uri()))
        sheets = [renderer.render_target(record, target.index, lambda sheet: sheet) for target in record.targets]
        maps = tuple(np.load(io.BytesIO(npy.encode(sheet, RenderOptions()))) for sheet in sheets)
        assert record.provenance is not None
        return Truth("", record.provenance.masks_used, maps)
