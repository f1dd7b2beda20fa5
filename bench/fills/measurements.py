"""What each network answers to masked pictures, fill by fill, kept in `build/bench/fills/`: a run can be resumed."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from app.contract.saliency.geometry import BlockRenderer, Canvas, viewport_of_canvas
from bench.attributions.photographs import photographs
from bench.fills.hiding import FEW_FILLS, FILLS, INPAINT, Hide, ways_to_hide
from bench.fills.networks import Subject
from bench.reference import STORE
from workers.blackbox import Classifier
from workers.explainer.plan import ExplanationPlan, build_plan
from workers.methods import method
from workers.saliency.block_statistics import BlockStatistics
from workers.saliency.estimators import block_weights
from workers.saliency.masks import render
from workers.saliency.regression import hadamard_effects
from workers.saliency.sampling import MaskDesign
from workers.saliency.score_moments import score_moments

Numbers = NDArray[np.float64]

BLOCKS = 2
CLASSES = 10  # the most probable ones, whose scores are kept
JUDGES = ("black", "blur", INPAINT)
_HIDDEN_SHARES = (0.25, 0.5, 0.75)
_BATCH = 32
_MAP_SIDE = 64


@dataclass(frozen=True)
class Answers:
    """What a network answered about one picture that one fill hid.

    Attributes:
        canvas: of the masks.
        design: of the blocks.
        unmasked: probabilities of the most probable classes, the explained one first, `[K]`.
        scores: of masked pictures, `[blocks, N, K]`.
        left: probability of the explained class with a quarter, half and three quarters of the cells hidden, by the map
            of this fill and with each of `JUDGES`: the least important cells and the most important ones, `[J, 2, S]`.
    """

    canvas: Canvas
    design: MaskDesign
    unmasked: Numbers
    scores: Numbers
    left: Numbers

    @property
    def statistics(self) -> BlockStatistics:
        """What the blocks say of the explained class."""
        return _statistics(self.canvas, self.design, self.scores[:, :, :1])

    def map(self, block: int, of_class: int = 0) -> Numbers:
        """Return the map of one block, drawn coarsely."""
        renderer = BlockRenderer(self.canvas, viewport_of_canvas(self.canvas, max_side=_MAP_SIDE))
        effects = _effects(self.design, self.scores[block, :, of_class : of_class + 1], block)[0, 0]
        return renderer.block(effects, block).astype(np.float64)


def answers(subject: Subject) -> Iterator[dict[str, Answers]]:
    """Yield what one network answered about each picture, by fill."""
    model, pictures, occluders = subject.load(), subject.pictures(), list(photographs(12).values())
    for number, (name, picture) in enumerate(pictures.items()):
        plan, other = _plan(model, picture), occluders[(number + 5) % len(occluders)]
        hides = ways_to_hide(plan, model, picture, other)
        found = {}
        for fill in FILLS if number < subject.screened else FEW_FILLS:
            path = STORE / "fills" / "-".join([subject.label, name, fill]).replace(" ", "-")
            found[fill] = _kept(path.with_suffix(".npz"), plan, hides, fill)
        yield found


def _kept(path: Path, plan: ExplanationPlan, hides: dict[str, Hide], fill: str) -> Answers:
    """Return the answers, from the disk where they were asked for before."""
    if not path.exists():
        sys.stderr.write(f"{path.stem}\n")
        with torch.inference_mode():
            asked = _ask(plan, hides, fill)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".unfinished.npz")
        np.savez(unfinished, allow_pickle=False, **asked)
        unfinished.rename(path)
    kept = {key: values.astype(np.float64) for key, values in np.load(path).items()}
    return Answers(plan.problem.canvas, plan.design, **kept)


def _plan(model: Classifier, picture: Image.Image) -> ExplanationPlan:
    plugin = method("rise")
    parameters = plugin.Parameters.model_validate({"fill": "blur", "grid": 8})
    return build_plan(model, picture, plugin, parameters, "top:1", batch=_BATCH)


def _ask(plan: ExplanationPlan, hides: dict[str, Hide], fill: str) -> dict[str, NDArray[np.float32]]:
    target = plan.resolved.target_rows[0]
    order = plan.unmasked.argsort(descending=True)
    classes = [target, *(row for row in order.tolist() if row != target)][:CLASSES]
    scores = _scores_of_blocks(plan, hides[fill])[..., classes]
    states = torch.from_numpy(_by_importance(plan, scores[..., :1]))
    left = [_scores(plan, hides[judge], states, 0)[:, target].reshape(2, -1) for judge in JUDGES]
    return {"unmasked": plan.unmasked[classes].numpy(), "scores": scores, "left": np.stack(left)}


def _scores_of_blocks(plan: ExplanationPlan, hide: Hide) -> NDArray[np.float32]:
    blocks = [torch.from_numpy(plan.design.sample(block)).float() for block in range(BLOCKS)]
    return np.stack([_scores(plan, hide, states, block) for block, states in enumerate(blocks)])


def _scores(plan: ExplanationPlan, hide: Hide, states: Tensor, block: int) -> NDArray[np.float32]:
    """Return the scores of all classes, `[N, R]`, with cells `[N, h, w]` hidden at the shift of one block."""
    weights = block_weights(plan.problem, block)
    parts = [plan.problem.score(hide(render(part, *weights))).float() for part in torch.split(states, _BATCH)]
    return torch.cat(parts).numpy()


def _by_importance(plan: ExplanationPlan, scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return which cells are hidden, `[2 S, h, w]`: the least important ones, then the most important ones.

    Args:
        plan: of the explanation.
        scores: of the explained class, `[blocks, N, 1]`.
    """
    relevance = _statistics(plan.problem.canvas, plan.design, scores).relevance()[0, 0]
    order = np.argsort(relevance, axis=None, kind="stable")
    hidden = np.zeros((2, len(_HIDDEN_SHARES), plan.design.cells), dtype=np.float32)
    for one, cells in zip(hidden, (order, order[::-1]), strict=True):
        for of_share, share in zip(one, _HIDDEN_SHARES, strict=True):
            of_share[cells[: round(share * plan.design.cells)]] = 1
    return hidden.reshape(-1, *plan.design.grid)


def _statistics(canvas: Canvas, design: MaskDesign, scores: NDArray[np.floating]) -> BlockStatistics:
    found = BlockStatistics(canvas, design, 1)
    for block, of_block in enumerate(scores):
        moments = score_moments(torch.from_numpy(of_block), folded=True).numpy()
        found.add(block, _effects(design, of_block, block), moments)
    return found


def _effects(design: MaskDesign, scores: NDArray[np.floating], block: int) -> NDArray[np.float32]:
    hidden = torch.from_numpy(design.sample(block)).float()[None]
    return hadamard_effects(torch.from_numpy(scores).float(), hidden).numpy()
