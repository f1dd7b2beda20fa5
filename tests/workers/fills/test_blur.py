"""The fill that is the image itself, blurred."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from workers.fills import blur


@pytest.mark.parametrize("shape", [(24, 40), (61, 7), (1, 5), (1, 1)])
def test_it_is_a_gaussian_of_a_tenth_of_the_longer_side_mirrored_at_the_border(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).random((3, *shape)).astype(np.float32)
    sigma = 0.1 * max(shape)
    expected = image
    for axis, side in enumerate(shape, start=1):
        radius = min(round(3 * sigma), side - 1)
        expected = ndimage.gaussian_filter1d(expected, sigma, axis=axis, mode="mirror", radius=radius)
    assert np.allclose(blur.paint(torch.from_numpy(image)).numpy(), expected, atol=1e-5)
