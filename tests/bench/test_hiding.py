"""Ways of hiding that the bench tries beside the fills of the product."""

import pytest
import torch

from bench.fills.hiding import FILLS, Hide, inpaint, shuffled, ways_to_hide
from tests.support.black_boxes import classifier, noise_image, study_of
from workers.blackbox import Classifier


@pytest.fixture
def hides() -> dict[str, Hide]:
    box: Classifier = classifier(lambda images: images.mean((1, 2, 3)))
    image = noise_image(64, 48)
    return ways_to_hide(study_of(box, image), box, image, noise_image(64, 48, seed=1))


@pytest.mark.parametrize("fill", FILLS)
def test_what_is_visible_is_the_image_and_what_is_hidden_is_not(hides: dict[str, Hide], fill: str) -> None:
    hidden = torch.zeros(2, 48, 64)
    hidden[1, :, 32:] = 1
    image, masked = hides[fill](hidden)
    assert torch.allclose(masked[:, :, :32], image[:, :, :32], atol=1e-6)
    assert (masked[:, :, 32:] - image[:, :, 32:]).abs().mean() > 0.1
    assert image.min() < 0.1
    assert image.max() > 0.9


def test_shuffling_moves_patches_whole() -> None:
    image = torch.rand(3, 64, 66)
    moved = shuffled(image)
    before, after = (each.unfold(1, 2, 2).unfold(2, 2, 2).sum((0, 3, 4)).flatten() for each in (image, moved))
    assert torch.allclose(before.sort().values, after.sort().values)
    assert (moved != image).float().mean() > 0.9


def test_inpainting_is_a_mean_of_what_is_visible_nearest_first() -> None:
    image = torch.zeros(3, 64, 64)
    image[:, :, 32:] = 1
    hidden = torch.zeros(1, 64, 64)
    hidden[:, 16:48, 24:40] = 1
    (painted,) = inpaint(image, hidden)
    assert painted.min() >= 0
    assert painted.max() <= 1
    across = painted[0, 32, 24:40]
    assert (across.diff() > 0).all()
    assert across[0] < 0.2
    assert across[-1] > 0.8
    assert torch.allclose(inpaint(torch.full((3, 64, 64), 0.3), hidden), torch.tensor(0.3), atol=1e-5)


def test_an_inpainted_picture_tells_nothing_of_what_is_hidden() -> None:
    hidden = torch.zeros(1, 64, 64)
    hidden[:, 16:48, 24:40] = 1
    image, other = torch.rand(3, 64, 64), torch.rand(3, 64, 64)
    same_outside = torch.where(hidden.bool(), other, image)
    assert torch.allclose(inpaint(image, hidden), inpaint(same_outside, hidden), atol=1e-6)
