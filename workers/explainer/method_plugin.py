"""The interface of a method plug-in (`workers/methods/`), as an explanation's plan uses it.

Arguments that differ from method to method (`Any` here) have the types that the method's `TASKS` imply: a `Classifier`
and its raw outputs `[1, C]`, a `Segmenter` and its raw outputs `[1, C, h, w]`, or a `Detector` and its `Detections`;
`parameters` is an instance of its `Parameters`.
"""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from app.contract.schemas import Task
from workers.blackbox.preprocessing import CoordinateTransform
from workers.explainer.parameters import MaskingParameters
from workers.explainer.targets import RequestedTargets, ResolvedTargets
from workers.saliency.estimators import PublishedMap


class MethodPlugin(Protocol):
    """A module that defines one method."""

    TASKS: tuple[Task, ...]
    """Tasks of the models that it explains."""

    DEFAULT_FOR: tuple[Task, ...]
    """Tasks for which it is the default."""

    @property
    def Parameters(self) -> type[MaskingParameters]:  # noqa: N802 - a class of the module
        """Its parameters; their JSON Schema is in the catalogue, with the docstring as the method's summary."""
        ...

    def fills(self, parameters: Any, /) -> list[str]:
        """Return the names of its K fills."""
        ...

    def resolve_targets(
        self,
        black_box: Any,
        outputs: Any,
        requested: RequestedTargets,
        transform: CoordinateTransform,
        parameters: Any,
        /,
    ) -> ResolvedTargets:
        """Return the targets, and how outputs of the model become their scores.

        Args:
            black_box: the model.
            outputs: its outputs for the unmasked image.
            requested: the request's targets.
            transform: between pixels of the image and of the model's input.
            parameters: of the request.
        """
        ...

    def published_weights(self, parameters: Any, /) -> PublishedMap:
        """Return the estimator as published: scores and masks -> summed map `[R, K, H, W]`."""
        ...

    def published_scale(self, parameters: Any, masks: int, /) -> float:
        """Return the factor from the mean over masks to the published map."""
        ...


@dataclass(frozen=True)
class Relaxation:
    """How much more of the image stays visible, and where.

    Attributes:
        below: share of masked images with a match; where a target has less in a pilot sample, more stays visible.
        keep: chance that a cell stays visible then.
    """

    below: float
    keep: float


@runtime_checkable
class RelaxesParameters(Protocol):
    """A method that may keep more of the image visible after a few masked images."""

    def relaxation(self, parameters: Any, /) -> Relaxation | None:
        """Return how much more; None keeps what the request says, whatever matches."""
        ...
