"""Models written to folders by tests, loaded from a models file, and explained without a server."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from app.contract.errors import RiseError
from app.contract.schemas import ExplanationRecord
from tests.conftest import SAMPLES
from tests.workers.models.explaining import collection_of
from workers.blackbox import BlackBox
from workers.blackbox.preprocessing import normalise, pixels, to_input
from workers.execution.local_run import explain_locally
from workers.loading.optional_imports import import_for_torch
from workers.registry.model_registry import LoadedModel


def library(name: str) -> Any:
    """Return an optional library; skips the tests of a file where it is missing, or made for another torch."""
    try:
        return import_for_torch(name)
    except (ModuleNotFoundError, ValueError) as cause:
        pytest.skip(str(cause), allow_module_level=True)


def photograph(width: int, height: int) -> Image.Image:
    """Return a part of a sample photograph."""
    with Image.open(SAMPLES / "star.jpg") as image:
        return image.convert("RGB").crop((20, 10, 20 + width, 10 + height))


def load_entry(folder: Path, entry: str) -> LoadedModel:
    """Write a models file with one entry, load it as a worker does, and return the model.

    Raises:
        RiseError: in the words that an operator reads.
    """
    return collection_of(folder, f"[it]\n{entry}\n").get("it")


def explain(model: LoadedModel, image: Image.Image, folder: Path, **fields: Any) -> ExplanationRecord:
    """Explain an image and leave the effects in a folder."""
    content = io.BytesIO()
    image.save(content, "png")
    return explain_locally(model, content.getvalue(), {"model": model.id, **fields}, folder, lambda _: None)


def shown(black_box: BlackBox, image: Image.Image) -> torch.Tensor:
    """Return an image as a black box sees it, `[1, C, H, W]`."""
    return normalise(to_input(pixels(image)[None], black_box.preprocessing), black_box.preprocessing)


def refusal(folder: Path, entry: str) -> str:
    """Return the words in which an entry is refused."""
    with pytest.raises(RiseError) as caught:
        load_entry(folder, entry)
    return caught.value.detail
