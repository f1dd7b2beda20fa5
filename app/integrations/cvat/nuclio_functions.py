"""The models as Nuclio functions, several per model, described as Nuclio describes its own.

In CVAT a label of a function has one type and a unique name, so boxes, tags and masks are separate functions. Values of
annotations are strings, and false is an absent value, because CVAT applies `bool` to the string.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from app.contract.schemas import JsonObject, ModelCard

Kind = Literal["seen", "saliency-50", "saliency-80", "inside"]

LEVELS: Mapping[Kind, float] = {"saliency-50": 0.5, "saliency-80": 0.8, "inside": 0.8}
"""Share of the positive saliency that a mask holds, by the kind of function."""

_PREDICTION_TYPES = {"detection": "rectangle", "classification": "tag", "segmentation": "rectangle"}
_ATTRIBUTES: list[JsonObject] = [
    {"name": name, "input_type": "text", "values": []} for name in ("score", "reliability")
]
_HELP = "Draw a box: the mask shows what speaks in it for what the model sees."


@dataclass(frozen=True)
class NuclioFunction:
    """One function of a model."""

    model: ModelCard
    kind: Kind

    @property
    def name(self) -> str:
        """Its id in CVAT; models' ids have no dots."""
        return f"{self.model.id}.{self.kind}"

    @property
    def label_type(self) -> str:
        """The type of its labels."""
        return _PREDICTION_TYPES[self.model.task or "classification"] if self.kind == "seen" else "mask"


def functions_of(models: list[ModelCard]) -> dict[str, NuclioFunction]:
    """Return the functions of the models that are ready, by their names."""
    found = (function for model in models if model.state == "ready" for function in _functions(model))
    return {function.name: function for function in found}


def _functions(model: ModelCard) -> Iterator[NuclioFunction]:
    if model.labels:  # because CVAT discards shapes with a label that the function does not declare
        yield NuclioFunction(model, "seen")
        yield NuclioFunction(model, "saliency-50")
        yield NuclioFunction(model, "saliency-80")
    yield NuclioFunction(model, "inside")


def describe(function: NuclioFunction, port: int) -> JsonObject:
    """Return a function as Nuclio's dashboard describes one.

    Args:
        function: which one.
        port: of this service; CVAT uses it only if it is configured to bypass the dashboard.
    """
    annotations = {
        "name": _title(function),
        "framework": "rise-serve",
        "version": "2",
        "type": "interactor" if function.kind == "inside" else "detector",
        "spec": json.dumps(_labels(function)),
    }
    if function.kind == "inside":
        annotations |= {"min_pos_points": "0", "min_neg_points": "0", "startswith_box": "true", "help_message": _HELP}
    return {
        "metadata": {"name": function.name, "namespace": "nuclio", "labels": {}, "annotations": annotations},
        "spec": {"description": _summary(function)},
        "status": {"state": "ready", "httpPort": port},
    }


def _labels(function: NuclioFunction) -> list[JsonObject]:
    if function.kind == "inside":
        return []
    names = dict.fromkeys(function.model.labels)  # because some models have two classes of one name
    return [
        {"id": index, "name": name, "type": function.label_type, "attributes": _ATTRIBUTES}
        for index, name in enumerate(names)
    ]


def _title(function: NuclioFunction) -> str:
    model = function.model.id
    if function.kind == "seen":
        return f"{model}: {'boxes' if function.label_type == 'rectangle' else 'class'}"
    if function.kind == "inside":
        return f"{model}: what speaks inside of a box"
    return f"{model}: where it looks ({LEVELS[function.kind]:.0%})"


def _summary(function: NuclioFunction) -> str:
    if function.kind == "seen":
        return f"What {function.model.id} sees"
    share = f"the smallest regions that hold {LEVELS[function.kind]:.0%} of what speaks"
    return f"Saliency of {function.model.id}: {share} for {'a box' if function.kind == 'inside' else 'each target'}"
