"""The plan of one explanation: everything that is fixed before the first block. Independent of Redis.

The worker's task and the command line both use it. The image is on the device, the targets are resolved, the scoring of
outputs is chosen by the method; the caller takes blocks until the map is reliable.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from app.contract.saliency.geometry import Canvas
from app.contract.saliency.tiling import Tiling
from app.contract.schemas import Box, CanvasInfo, Prediction, State, TargetResult
from workers.blackbox import BlackBox
from workers.blackbox.preprocessing import CoordinateTransform, input_transform, normalise, pixels, to_input
from workers.explainer.grid import FINEST, tiling_for
from workers.explainer.method_plugin import MethodPlugin, RelaxesParameters
from workers.explainer.parameters import MaskingParameters, turns_of
from workers.explainer.pilot import Verdict, verdict
from workers.explainer.prediction import predictions_of
from workers.explainer.targets import RequestedTargets, ResolvedTargets
from workers.fills import paint
from workers.saliency.estimators import (
    BatchSteps,
    Block,
    MaskingProblem,
    PendingBlock,
    monte_carlo_block,
    pilot_scores,
    regression_block,
)
from workers.saliency.pipeline import BlockPipeline
from workers.saliency.sampling import MaskDesign
from workers.supervision.current_attempt import with_progress_signal

_PUBLISHED_BLOCK = 128
_PILOT_MASKS = 64
_BATCH_NUMBERS = 200_000_000  # pixel values of one batch of masked images, at most


@dataclass(frozen=True)
class PilotSample:
    """The first masks of the first block, which a method may want to see before it settles its parameters.

    Attributes:
        problem: that they are of; what is another problem (another fill, another score) has other scores.
        scores: `[P, R]`.
    """

    problem: MaskingProblem
    scores: Tensor


@dataclass(frozen=True)
class ExplanationPlan:
    """An explanation that is ready to run.

    Attributes:
        method: the plug-in.
        parameters: its parameters.
        problem: image, fills and scoring, for the masking loop.
        design: how states are sampled.
        resolved: targets and how they are scored.
        block_size: masks in a block.
        blocks: number of blocks at most.
        warnings: for the client, about how it was set up.
        forward: pictures on the canvas, as they are blended -> raw outputs of the model.
        predictions: raw outputs for one picture, and how many -> classes or detections, the most probable first.
        unmasked: probability or match of each row's target in the unmasked image, asked alone, `[R]`.
        pilot: what is known of the first block.
    """

    method: MethodPlugin
    parameters: MaskingParameters
    problem: MaskingProblem
    design: MaskDesign
    resolved: ResolvedTargets
    block_size: int
    blocks: int
    forward: Callable[[Tensor], Any]
    predictions: Callable[[Any, int], list[Prediction]]
    unmasked: Tensor
    warnings: tuple[str, ...] = ()
    pilot: PilotSample | None = None

    def run(self) -> Iterator[Block]:
        """Yield all blocks, each as soon as it is done."""
        pipeline = self.pipeline()
        return map(pipeline.block, range(self.blocks))

    def pipeline(self, *, when_halved: Callable[[], None] = lambda: None) -> BlockPipeline:
        """Return what computes blocks by their numbers.

        Args:
            when_halved: called each time when a batch was halved because memory ran out.
        """
        return BlockPipeline(self.problem, self._launch, self.blocks, when_halved=when_halved)

    def _launch(self, problem: MaskingProblem, block: int, buffer: Tensor) -> BatchSteps[PendingBlock]:
        if self.parameters.estimator == "contrast":
            known = self.pilot.scores if self.pilot and block == 0 and self.pilot.problem is self.problem else None
            return regression_block(problem, self.design, block, buffer, known=known)
        weigh = self.method.published_weights(self.parameters)
        return monte_carlo_block(problem, self.design, block, buffer, masks=self.block_size, weigh=weigh)

    @property
    def gathers_evidence(self) -> bool:
        """Whether the maps are to come with evidence."""
        return self.parameters.evidence and self.parameters.estimator == "contrast"

    @property
    def shrinks(self) -> bool:
        """Whether maps are shrunk where they are mostly noise."""
        return self.parameters.shrink and self.parameters.estimator == "contrast"

    def continues(self, state: State) -> bool:
        """Return whether stored effects are of the same cells, so that more blocks can be added to them.

        Those of an earlier version may be of others, where the grid was left to the worker.
        """
        return state.kind == "effects" and state.canvas == self.state().canvas

    def state(self) -> State:
        """Return what is needed to render the effects, before there are any."""
        canvas = self.problem.canvas
        return State(
            kind="effects" if self.parameters.estimator == "contrast" else "moments",
            shrink=self.shrinks,
            canvas=CanvasInfo(
                height=canvas.height,
                width=canvas.width,
                grid=canvas.grid,
                view=canvas.view,
                refined=canvas.refined,
            ),
            seed=canvas.seed,
            rows=self.resolved.rows,
            target_rows=self.resolved.target_rows,
            fills=self.method.fills(self.parameters),
        )


def build_plan(
    black_box: BlackBox,
    image: Image.Image,
    method: MethodPlugin,
    parameters: MaskingParameters,
    requested: RequestedTargets,
    *,
    batch: int = 32,
) -> ExplanationPlan:
    """Return the plan of an explanation.

    A method may keep more of the image visible (`RelaxesParameters`) where few masked images of a pilot sample match.
    That is a pure function of the request, so a resumed explanation comes to the same. Where nothing is relaxed, the
    sample is a part of the first block.

    Args:
        black_box: the model.
        image: upright, RGB.
        method: a plug-in from `workers/methods`.
        parameters: of that method.
        requested: the request's targets.
        batch: masked images per forward pass, fewer where they are large.

    Raises:
        RiseError: where the targets do not exist or the model fails on the unmasked image.
    """
    plan = _plan_as_asked(black_box, image, method, parameters, requested, batch)
    relaxation = method.relaxation(parameters) if isinstance(method, RelaxesParameters) else None
    if relaxation is None:
        return plan
    masks = min(_PILOT_MASKS, plan.design.block_size)

    def judged(scores: Tensor) -> Verdict | None:
        return verdict(scores > plan.problem.match, wanted=relaxation.below, masks=masks)

    scores = pilot_scores(plan.problem, plan.design, masks, is_decided=lambda scores: judged(scores) is not None)
    found = judged(scores)
    if found is None or found.enough:
        return replace(plan, pilot=PilotSample(plan.problem, scores))
    warning = f"{found.share:.0%} of masked images matched at keep {parameters.keep:g}; keep was raised to "
    return replace(_with_keep(plan, relaxation.keep), warnings=(f"{warning}{relaxation.keep:g}",))


def _with_keep(plan: ExplanationPlan, keep: float) -> ExplanationPlan:
    """Return the plan with another chance that cells stay visible: the same targets, cells and fills."""
    parameters, design = plan.parameters.model_copy(update={"keep": keep}), replace(plan.design, keep=keep)
    size, blocks = _extent(parameters, design, len(plan.problem.turns))
    return replace(plan, parameters=parameters, design=design, block_size=size, blocks=blocks)


def _extent(parameters: MaskingParameters, design: MaskDesign, turns: int) -> tuple[int, int]:
    """Return the masks of a block and the number of blocks at most, as many of each turn of fills."""
    size = design.block_size if parameters.estimator == "contrast" else _PUBLISHED_BLOCK
    return size, math.ceil(parameters.masks / size / turns) * turns


def _plan_as_asked(
    black_box: BlackBox,
    image: Image.Image,
    method: MethodPlugin,
    parameters: MaskingParameters,
    requested: RequestedTargets,
    batch: int,
) -> ExplanationPlan:
    picture = pixels(image).to(black_box.device)
    forward = with_progress_signal(_forward_fn(black_box, parameters))
    on_canvas = to_input(picture[None], black_box.preprocessing)[0] if parameters.canvas == "model" else picture
    normalised = _to_model_values(on_canvas, black_box, parameters)
    transform = input_transform(image.width, image.height, black_box.preprocessing)
    with torch.inference_mode():
        outputs = forward(normalised[None])
        resolved = method.resolve_targets(black_box, outputs, requested, transform, parameters)
        unmasked = (resolved.probability or resolved.score)(outputs)[0]
    tiling = _tiling(parameters, resolved.targets, _view(image, transform, parameters))
    turns = [
        torch.stack([_hidden(name, on_canvas, black_box, parameters) for name in names])
        for names in turns_of(method.fills(parameters))
    ]
    canvas = _canvas(image, transform, parameters, tiling)
    problem = MaskingProblem(
        normalised,
        turns[0],
        canvas,
        lambda masked: resolved.score(forward(masked)),
        _batch(canvas, batch),
        resolved.match,
        tuple(turns),
    )
    design = MaskDesign(tiling.grid, parameters.keep, len(turns[0]), parameters.seed, tiling.refined)
    return ExplanationPlan(
        method,
        parameters,
        problem,
        design,
        resolved,
        *_extent(parameters, design, len(turns)),
        forward,
        lambda outputs, limit: predictions_of(black_box, outputs, transform, limit=limit),
        unmasked,
    )


def with_fill(
    plan: ExplanationPlan, black_box: BlackBox, image: Image.Image, fill: str, *, opacity: float, blocks: int
) -> ExplanationPlan:
    """Return the plan with another fill and opacity: the same targets, states and shifts.

    Args:
        plan: of a method with one fill.
        black_box: its model.
        image: its image.
        fill: the fill's name.
        opacity: how much masks hide.
        blocks: number of blocks.
    """
    parameters = plan.parameters.model_copy(update={"fill": fill, "opacity": opacity})
    picture = pixels(image).to(black_box.device)
    on_canvas = to_input(picture[None], black_box.preprocessing)[0] if parameters.canvas == "model" else picture
    fills = _hidden(fill, on_canvas, black_box, parameters)[None]
    problem = replace(plan.problem, fills=fills, turns=(fills,))
    return replace(plan, parameters=parameters, problem=problem, blocks=blocks)


def _hidden(name: str, on_canvas: Tensor, black_box: BlackBox, parameters: MaskingParameters) -> Tensor:
    """Return what is seen where a fill hides, `[3, H, W]`, as the values that are blended."""
    fill = paint(name, on_canvas, model_mean=black_box.preprocessing.mean_color, seed=parameters.seed)
    seen = fill if parameters.opacity == 1 else on_canvas + parameters.opacity * (fill - on_canvas)
    return _to_model_values(seen, black_box, parameters)


def _tiling(parameters: MaskingParameters, targets: list[TargetResult], view: Box) -> Tiling:
    """Return the cells of masks; those left to the published estimator are the finest grid's, as its authors use it."""
    if parameters.grid != "auto":
        return Tiling(parameters.cells)
    if parameters.estimator == "paper":
        return Tiling((FINEST, FINEST))
    return tiling_for([target.box for target in targets if target.box is not None], view)


def _view(image: Image.Image, transform: CoordinateTransform, parameters: MaskingParameters) -> Box:
    """Return what the canvas shows, in pixels of the image."""
    return transform.view if parameters.canvas == "model" else (0.0, 0.0, float(image.width), float(image.height))


def _canvas(
    image: Image.Image, transform: CoordinateTransform, parameters: MaskingParameters, tiling: Tiling
) -> Canvas:
    height, width = transform.size if parameters.canvas == "model" else (image.height, image.width)
    return Canvas(height, width, tiling.grid, _view(image, transform, parameters), parameters.seed, tiling.refined)


def _forward_fn(black_box: BlackBox, parameters: MaskingParameters) -> Callable[[Tensor], Any]:
    """Return the function from pictures on the canvas to the model's raw outputs."""
    if parameters.canvas == "model":
        return black_box.forward

    def whole_preprocessing(masked: Tensor) -> Any:
        pictures = normalise(to_input(masked, black_box.preprocessing), black_box.preprocessing)
        return black_box.forward(pictures.to(black_box.dtype))

    return whole_preprocessing


def _to_model_values(picture: Tensor, black_box: BlackBox, parameters: MaskingParameters) -> Tensor:
    """Return an image on the canvas, `[3, H, W]`, as the values that are blended."""
    if parameters.canvas == "image":
        return picture.contiguous()
    return normalise(picture, black_box.preprocessing).to(black_box.dtype).contiguous()


def _batch(canvas: Canvas, wanted: int) -> int:
    return max(1, min(wanted, _BATCH_NUMBERS // (3 * canvas.height * canvas.width)))
