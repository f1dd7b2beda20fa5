"""From the text of a models file to a drawn map, through everything but Redis."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from app.contract.schemas import ExplanationRecord, ModelCard
from app.contract.storage.object_store import BlobStore
from app.rendering.renderer import Renderer
from tests.conftest import SAMPLES
from workers.execution.local_run import explain_locally
from workers.registry.model_registry import LoadedModel, ModelRegistry

NUMBERS = {"masks": 256, "until": 1, "seed": 3}


def entry(loader: str, source: str | Path, more: str = "") -> str:
    return f'[it]\nloader = "{loader}"\nsource = "{source}"\n{more}'


def collection_of(folder: Path, text: str) -> ModelRegistry:
    path = folder / "models.toml"
    path.write_text(text)
    models = ModelRegistry(path, torch.device("cpu"))
    models.load_all()
    return models


def loaded(folder: Path, text: str) -> LoadedModel:
    models = collection_of(folder, text)
    (card,) = models.cards()
    assert card.state == "ready", card.reason
    return models.get("it")


def reason_of(folder: Path, text: str) -> str:
    """Return why a model does not load, in the words of the catalogue."""
    card: ModelCard = collection_of(folder, text).cards()[0]
    assert card.state == "failed"
    assert card.reason
    return card.reason


def explain(folder: Path, text: str, sample: str = "star") -> tuple[ExplanationRecord, NDArray[np.float32]]:
    """Return the record of an explanation and the map of its first target."""
    blobs = folder / "blobs"
    blobs.mkdir(exist_ok=True)
    content = (SAMPLES / f"{sample}.jpg").read_bytes()
    record = explain_locally(loaded(folder, text), content, {"model": "it", **NUMBERS}, blobs, lambda _: None)
    return record, first_map(record, blobs)


def first_map(record: ExplanationRecord, blobs: Path) -> NDArray[np.float32]:
    """Return the map of the first target at the size of the image."""
    drawn = Renderer(BlobStore(blobs.as_uri())).render_target(record, 0, lambda sheet: sheet.drawn)
    first: NDArray[np.float32] = drawn.values[0]
    return first


def map_by(models: ModelRegistry, model: str, image: bytes, folder: Path, **fields: Any) -> NDArray[np.float32]:
    """Explain the first target with 128 masks or as asked, and return its map at the size of the image."""
    place = folder / f"{model}-{len(list(folder.iterdir()))}"
    place.mkdir()
    asked = {"model": model, "until": 1.0, "masks": 128, **fields}
    record = explain_locally(models.get(model), image, asked, place, lambda _: None)
    return first_map(record, place)


def apart(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return how far two maps lie apart, as a share of the range of the first."""
    return float(np.abs(one - other).max() / (one.max() - one.min()))


def alike(one: NDArray[np.float32], other: NDArray[np.float32], share: float = 1e-3) -> bool:
    """Return whether two maps differ by no more than a share of the first one's range, which is not nothing."""
    extent = float(one.max() - one.min())
    return extent > 1e-3 and float(np.abs(one - other).max()) <= share * extent
