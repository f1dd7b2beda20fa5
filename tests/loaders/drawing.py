"""Short ways from a models file to maps, without a service."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.contract.blobs import Blobs
from app.contract.drawing import draw
from app.contract.geometry import frame_of_image
from workers.collection import Collection
from workers.device import choose_device
from workers.local import explain_locally


def collection_of(folder: Path, text: str) -> Collection:
    """Return the models of a models file with this text, loaded."""
    path = folder / "models.toml"
    path.write_text(text)
    collection = Collection(path, choose_device("cpu"))
    collection.load_all()
    return collection


def reason_of(folder: Path, text: str) -> str:
    """Return why the only model of a models file does not load."""
    (card,) = collection_of(folder, text).cards()
    assert card.state == "failed", card
    assert card.reason is not None
    return card.reason


def map_by(collection: Collection, model: str, image: bytes, folder: Path, **fields: Any) -> NDArray[np.float32]:
    """Explain the first target with 256 masks or as asked, and return its map at the size of the image."""
    place = folder / f"{model}-{len(list(folder.iterdir()))}"
    place.mkdir()
    asked = {"model": model, "until": 1.0, "masks": 256, **fields}
    record = explain_locally(collection.get(model), image, asked, place, lambda _: None)
    assert record.state is not None
    blobs = Blobs(place.as_uri())
    arrays = [blobs.get_array(checkpoint.blob) for checkpoint in record.state.checkpoints]
    frame = frame_of_image(record.image.width, record.image.height)
    drawn = draw(record.state, arrays, record.state.target_rows[0], frame)
    return np.asarray(drawn.values[0])


def alike(one: NDArray[np.float32], other: NDArray[np.float32], share: float = 1e-3) -> bool:
    """Return whether two maps differ by no more than a share of the first one's range, which is not nothing."""
    extent = float(one.max() - one.min())
    return extent > 1e-3 and float(np.abs(one - other).max()) <= share * extent
