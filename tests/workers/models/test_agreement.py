"""One set of weights, by whatever loader, gives one map."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.conftest import SAMPLES
from tests.workers.models.entries import library
from tests.workers.models.explaining import collection_of, map_by
from tests.workers.models.inference_server import Array, ServedModel, serve
from workers.registry.model_registry import ModelRegistry

transformers = library("transformers")
pytest.importorskip("onnxruntime")

FIELDS = """
labels = ["cat", "dog", "bird"]
preprocessing = { size = 64, mean = [0.5, 0.4, 0.3], std = [0.2, 0.25, 0.3], resize = "stretch" }
"""
STAR = (SAMPLES / "star.jpg").read_bytes()


class Logits(nn.Module):
    """A network of transformers as other runtimes see it: pictures in, logits out."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor) -> Tensor:
        logits: Tensor = self.network(pictures).logits
        return logits


@pytest.fixture(scope="module")
def network() -> Logits:
    """A small network whose scores depend on places and colours."""
    torch.manual_seed(2)
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    config.id2label = {0: "cat", 1: "dog", 2: "bird"}
    return Logits(transformers.ResNetForImageClassification(config)).eval()


@pytest.fixture(scope="module")
def models(network: Logits, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelRegistry]:
    """The same weights by four loaders."""
    folder = tmp_path_factory.mktemp("agreement")
    network.network.save_pretrained(folder / "hub")
    (folder / "hub" / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "ViTImageProcessor", "size": {"height": 64, "width": 64}})
    )
    batch = ({0: torch.export.Dim.DYNAMIC},)
    example = (torch.rand(2, 3, 64, 64),)
    torch.onnx.export(network, example, folder / "it.onnx", dynamic_shapes=batch, verbose=False)
    torch.export.save(torch.export.export(network, example, dynamic_shapes=batch), folder / "it.pt2")

    def compute(pictures: Array) -> dict[str, Array]:
        with torch.inference_mode():
            return {"logits": network(torch.from_numpy(np.array(pictures, dtype=np.float32))).numpy()}

    with serve({"it": ServedModel(compute, [-1, 3, 64, 64])}) as server:
        sources = {
            "transformers": "hub",
            "onnx": "it.onnx",
            "exported": "it.pt2",
            "open-inference": f"{server.url}/v2/models/it",
        }
        entries = (f'[{loader}]\nloader = "{loader}"\nsource = "{at}"\n{FIELDS}' for loader, at in sources.items())
        yield collection_of(folder, "\n".join(entries))


@pytest.mark.parametrize("loader", ["onnx", "exported", "open-inference"])
def test_the_same_weights_give_the_same_map_by_every_loader(models: ModelRegistry, loader: str, tmp_path: Path) -> None:
    states = {card.id: (card.state, card.reason) for card in models.cards()}
    assert {state for state, _ in states.values()} == {"ready"}, states
    target = [{"label": "dog"}]
    ours = map_by(models, loader, STAR, tmp_path, targets=target)
    theirs = map_by(models, "transformers", STAR, tmp_path, targets=target)
    extent = float(theirs.max() - theirs.min())
    assert extent > 1e-5
    assert np.abs(ours - theirs).max() <= 1e-3 * extent
