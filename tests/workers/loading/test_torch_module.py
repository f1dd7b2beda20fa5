"""Torch modules in half precision, in another layout and compiled are the same model, or refused."""

import pytest
import torch
from torch import Tensor, nn

from workers.blackbox import CPU, BlackBox, Classifier, Preprocessing
from workers.loading.torch_module import Forward, prepare_module
from workers.model_io.model_entry import ModelEntry


def make(forward: Forward) -> BlackBox:
    return Classifier(forward, ("a", "b", "c"), Preprocessing(size=(16, 16)))


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 14 * 14, 3))


def scores(black_box: BlackBox, images: Tensor) -> Tensor:
    assert isinstance(black_box, Classifier)
    with torch.inference_mode():
        return black_box.forward(images)


def entry(**fields: object) -> ModelEntry:
    return ModelEntry.model_validate({"loader": "python", "source": "x", **fields})


def test_half_precision_that_moves_nothing_much_is_taken() -> None:
    black_box = prepare_module(network(), entry(precision="bfloat16"), CPU, make)
    assert black_box.dtype == torch.bfloat16
    assert scores(black_box, torch.rand(2, 3, 16, 16, dtype=torch.bfloat16)).shape == (2, 3)


def test_half_precision_that_moves_probabilities_is_refused_with_the_figure() -> None:
    with pytest.raises(ValueError, match=r"precision = 'bfloat16': it moves probabilities by 0\.\d+, more than"):
        prepare_module(Steep(), entry(precision="bfloat16"), CPU, make)


class Steep(nn.Module):
    """Logits so large that the rounding of half precision is a large step."""

    def forward(self, images: Tensor) -> Tensor:
        return 300 * images.mean((2, 3))


class NotANumberInHalf(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3)) * (1.0 if images.dtype == torch.float32 else float("nan"))


def test_half_precision_that_gives_no_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match="float16"):
        prepare_module(NotANumberInHalf(), entry(precision="float16"), CPU, make)


def test_the_memory_layout_changes_no_score() -> None:
    images = torch.rand(2, 3, 16, 16)
    plain = prepare_module(network(), entry(), CPU, make)
    other = prepare_module(network(), entry(channels_last=True), CPU, make)
    assert torch.allclose(scores(plain, images), scores(other, images), atol=1e-5)


def test_a_randomised_copy_has_other_weights_and_leaves_the_model_alone() -> None:
    images = torch.rand(2, 3, 16, 16)
    black_box = prepare_module(network(), entry(), CPU, make)
    assert isinstance(black_box, Classifier)
    assert black_box.randomised is not None
    before = scores(black_box, images)
    first, again = (scores(black_box.randomised(7), images) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, before, atol=1e-2)
    assert torch.equal(scores(black_box, images), before)
