"""The picture of all targets for a second image of Label Studio."""

import base64
import io
from pathlib import Path

from PIL import Image

from app.contract.schemas import ExplanationRecord
from app.contract.settings import Settings
from app.contract.storage.object_store import BlobStore
from app.label_studio_format.predictions import overlays_of
from app.rendering.renderer import Renderer
from tests.conftest import SAMPLES
from workers.blackbox.device import choose_device
from workers.execution.local_run import explain_locally
from workers.registry.model_registry import ModelRegistry


def overlays(folder: Path, picture: str, model: str) -> tuple[ExplanationRecord, Image.Image]:
    models = ModelRegistry(Settings().models, choose_device("cpu"))
    models.load_all()
    content = (SAMPLES / picture).read_bytes()
    record: ExplanationRecord = explain_locally(
        models.get(model), content, {"model": model, "masks": "512"}, folder, print
    )
    data = overlays_of(record, Renderer(BlobStore(folder.as_uri()))).partition(",")[2]
    return record, Image.open(io.BytesIO(base64.b64decode(data)))


def test_one_target_fills_the_picture(tmp_path: Path) -> None:
    record, picture = overlays(tmp_path, "star.jpg", "shapes")
    assert len(record.targets) == 1
    assert picture.size == Image.open(SAMPLES / "star.jpg").size


def test_several_targets_stand_side_by_side_each_under_its_name(tmp_path: Path) -> None:
    record, picture = overlays(tmp_path, "several.jpg", "shapes-detector")
    assert len(record.targets) == 4
    width, height = Image.open(SAMPLES / "several.jpg").size
    assert picture.size == (2 * width + 4, 2 * (height + 22 + 4) - 4)
    tiles = [
        picture.crop((left, top, left + width, top + 22 + height))
        for top in (0, height + 26)
        for left in (0, width + 4)
    ]
    assert len({tile.tobytes() for tile in tiles}) == 4
    assert all(min(tile.crop((0, 0, width, 22)).convert("L").tobytes()) < 100 for tile in tiles)  # words
