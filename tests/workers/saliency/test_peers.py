"""The same masks and scores, given to xaitk-saliency 0.15: an independent implementation agrees where it is right.

Its maps are scaled by their largest absolute value; its boxes have one pixel more on each side; its MC-RISE weighs with
p and 1-p swapped, so that it is right at p = 0.5 only.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from xaitk_saliency.impls.gen_classifier_conf_sal.mc_rise_scoring import MCRISEScoring
from xaitk_saliency.impls.gen_classifier_conf_sal.rise_scoring import RISEScoring
from xaitk_saliency.impls.gen_detector_prop_sal.drise_scoring import DRISEScoring

from workers.methods import drise, mc_rise, rise
from workers.saliency.similarity import similarity

RANDOM = np.random.default_rng(7)
MASKS = RANDOM.random((40, 12, 16)).astype(np.float32)


def scaled(values: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(values / np.abs(values).max())


def test_published_rise_is_theirs() -> None:
    scores = RANDOM.random((40, 3)).astype(np.float32)
    weigh = rise.published_weights(rise.Parameters())
    ours = weigh(torch.from_numpy(scores), torch.from_numpy(MASKS)[None])[:, 0].numpy()
    theirs = RISEScoring(p1=0.0).generate(scores[0], scores, MASKS)
    assert np.allclose([scaled(one) for one in ours], theirs, atol=1e-5)


def test_published_mc_rise_is_theirs_at_one_half() -> None:
    scores = RANDOM.random((40, 2)).astype(np.float32)
    states = RANDOM.random((3, 40, 12, 16)).astype(np.float32)
    partition = states / states.sum(0)
    parameters = mc_rise.Parameters(colors=["#ff0000", "#00ff00"], keep=0.5)
    ours = mc_rise.published_weights(parameters)(torch.from_numpy(scores), torch.from_numpy(partition)).numpy()
    theirs = MCRISEScoring(k=2, p1=0.5).generate(scores[0], scores, 1 - partition[1:])
    for color in range(2):
        for target in range(2):
            assert np.allclose(scaled(ours[target, color]), theirs[color][target], atol=1e-4)


def test_published_d_rise_is_theirs_but_for_their_extra_pixel() -> None:
    corners = RANDOM.random((40, 6, 2)) * 100
    boxes = np.concatenate([corners, corners + 20 + RANDOM.random((40, 6, 2)) * 80], axis=2)
    classes, objectness = RANDOM.random((40, 6, 4)), RANDOM.random((40, 6, 1))
    targets = np.concatenate([boxes[0, :3], np.ones((3, 1)), classes[0, :3]], axis=1)
    theirs = DRISEScoring().generate(targets, np.concatenate([boxes, objectness, classes], axis=2), MASKS)
    grown, grown_targets = boxes.copy(), targets[:, :4].copy()
    grown[..., 2:] += 1  # a box of theirs that ends at pixel 9 ends at 10 in continuous coordinates
    grown_targets[:, 2:] += 1
    parts = (torch.from_numpy(part).float() for part in (grown, classes, objectness[..., 0]))
    proposed = (next(parts), next(parts), next(parts))
    scores = similarity(
        torch.from_numpy(grown_targets).float(),
        torch.from_numpy(targets[:, 5:]).float(),
        proposed,
        part="whole",
    )
    ours = drise.published_weights(drise.Parameters())(scores, torch.from_numpy(MASKS)[None])[:, 0].numpy()
    per_pixel = [scaled(one / MASKS.sum(0)) for one in ours]  # because theirs divides by how often a pixel was kept
    assert np.allclose(per_pixel, [scaled(one) for one in theirs], atol=1e-4)
