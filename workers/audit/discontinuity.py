"""Whether scores jump: the largest change of log p within one ten-thousandth of a path.

A path leads from the image to a changed one, `image + a (changed - image)` with a in 0..1. It is asked in twelve steps;
the step with the largest change is then halved ten times, each time keeping the half with the larger change. Of a score
that changes smoothly nothing is left, of one that jumps the whole jump. p is clamped at 1e-4.

Paths to masked images say whether a model reacts to masks by a threshold; paths to natural changes - cross-fades to a
shift, a mirror image, a zoom - whether it jumps anyway, as cascades and integer arithmetic do. The same gate is the
attack of Slack et al. (AIES 2020) on LIME and SHAP; that jumps give it away is measured in `bench/RESULTS.md`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from workers.audit.asking import Answers, Draw, PictureAsker
from workers.explainer.plan import ExplanationPlan
from workers.saliency.estimators import block_weights
from workers.saliency.masks import blend, one_hot_states, render

_STEPS = 12
_HALVINGS = 10
_LEAST = 1e-4
_PATHS = 4
_SHIFTED = 8  # part of the side by which a picture is shifted
_ZOOM = 0.75


@dataclass(frozen=True)
class Jumps:
    """What was found on some paths.

    Attributes:
        of_paths: largest jump of any target's log p on each path, `[P]`.
        of_targets: of each target in the same places, the largest of all paths, `[T]`.
        places: on each path, 0..1, `[P]`.
    """

    of_paths: NDArray[np.float64]
    of_targets: NDArray[np.float64]
    places: NDArray[np.float64]

    @property
    def largest(self) -> float:
        """The largest jump of all."""
        return float(self.of_paths.max())

    @property
    def largest_beyond_start(self) -> float:
        """The largest jump that is none from the image itself: a model that knows the exact image jumps there."""
        return float(self.of_paths[self.places > 0].max(initial=0))


def masked_ends(plan: ExplanationPlan) -> Tensor:
    """Return the first masked images of the explanation, `[4, 3, H, W]`."""
    problem = plan.problem
    states = torch.from_numpy(plan.design.sample(0)[:_PATHS]).to(problem.image.device)
    masks = render(one_hot_states(states, plan.design.fills), *block_weights(problem, 0))
    out = problem.image.new_empty((_PATHS, *problem.image.shape))
    return blend(problem.image, problem.fills - problem.image, masks, out=out)


def natural_ends(image: Tensor) -> Tensor:
    """Return the image `[3, H, W]` shifted, mirrored and zoomed, `[3, 3, H, W]`."""
    height, width = image.shape[1:]
    down, across = max(1, height // _SHIFTED), max(1, width // _SHIFTED)
    mode = "reflect" if min(height, width) > 1 else "replicate"
    shifted = functional.pad(image[None], (across, 0, down, 0), mode=mode)[0, :, :height, :width]
    rows, columns = max(1, round(_ZOOM * height)), max(1, round(_ZOOM * width))
    top, left = (height - rows) // 2, (width - columns) // 2
    middle = image[None, :, top : top + rows, left : left + columns]
    zoomed = functional.interpolate(middle, size=(height, width), mode="bilinear", align_corners=False)[0]
    return torch.stack([shifted, image.flip(-1), zoomed])


def find_jumps(asker: PictureAsker, image: Tensor, ends: Tensor, at_start: Answers | None) -> tuple[Jumps, Answers]:
    """Return the jumps on paths from an image, and the answer `[T]` to the image itself among the others.

    Args:
        asker: of the model.
        image: `[3, H, W]`.
        ends: of the paths, `[P, 3, H, W]`.
        at_start: the answer to the image, `[T]`; None asks for it.
    """
    paths, offset = len(ends), int(at_start is None)
    places = np.linspace(0, 1, _STEPS + 1)

    def picture(number: int) -> Tensor:
        path, step = divmod(number - offset, _STEPS)
        return image if number < offset else _between(image, ends[path], float(places[step + 1]))

    answers = asker.probabilities(offset + paths * _STEPS, lambda *part: torch.stack([*map(picture, range(*part))]))
    start = answers[0] if at_start is None else at_start
    steps = answers[offset:].reshape(paths, _STEPS, -1)
    logs = _log(np.concatenate([np.broadcast_to(start, (paths, 1, len(start))), steps], axis=1))  # [P, 13, T]
    widest = np.abs(np.diff(logs, axis=1)).max(2).argmax(1)
    each = np.arange(paths)
    low, high, below, above = places[widest], places[widest + 1], logs[each, widest], logs[each, widest + 1]
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        halves = asker.probabilities(paths, _on_paths(image, ends, middle))
        between = _log(halves)
        lower = np.abs(between - below).max(1) >= np.abs(above - between).max(1)
        low, high = np.where(lower, low, middle), np.where(lower, middle, high)
        below, above = np.where(lower[:, None], below, between), np.where(lower[:, None], between, above)
    jumps = np.abs(above - below)
    return Jumps(jumps.max(1), jumps.max(0), low), start


def _on_paths(image: Tensor, ends: Tensor, places: NDArray[np.float64]) -> Draw:
    """Return the pictures at one place of each path."""
    return lambda *part: torch.stack([_between(image, ends[path], float(places[path])) for path in range(*part)])


def _between(image: Tensor, end: Tensor, place: float) -> Tensor:
    return end if place == 1 else image + place * (end - image)


def _log(probabilities: Answers) -> NDArray[np.float64]:
    return np.log(np.maximum(probabilities, _LEAST))
