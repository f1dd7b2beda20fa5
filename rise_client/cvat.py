r"""A function for CVAT's SDK: annotates tasks with what a model sees, or with where it looks.

    cvat-cli task auto-annotate 137 --function-module rise_client.cvat \
        -p url=str:http://127.0.0.1:8000 -p model=str:shapes

It runs where `cvat-cli` does, so the CVAT server needs no connection to this service. Needs `cvat-sdk[masks]`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cvat_sdk.auto_annotation as annotation
from cvat_sdk.masks import encode_mask
from PIL import Image

from rise_client.errors import ServiceError
from rise_client.models import Prediction, TargetData
from rise_client.sync_client import Client

Show = Literal["seen", "saliency"]

_MOST_SEEN = 100
_THRESHOLD = 0.3  # of a detector's boxes, where nobody says another


@dataclass(frozen=True)
class AutoAnnotationFunction:
    """A detection function of CVAT's SDK.

    Attributes:
        client: of the service; it ends with the process, because a function is not told when it is done.
        model: id of the model.
        names: the model's classes, which are the labels.
        label_type: of all labels: `rectangle`, `tag` or `mask`.
        level: share of the positive saliency that a mask holds.
        parameters: of explanations.
    """

    client: Client
    model: str
    names: list[str]
    label_type: str
    level: float
    parameters: dict[str, Any]

    @property
    def spec(self) -> annotation.DetectionFunctionSpec:
        """What the function may say."""
        labels = [annotation.label_spec(name, place, type=self.label_type) for place, name in enumerate(self.names)]
        return annotation.DetectionFunctionSpec(labels=labels)

    def detect(
        self, context: annotation.DetectionFunctionContext, image: Image.Image
    ) -> Sequence[annotation.DetectionAnnotation]:
        """Return annotations of an image.

        Raises:
            ServiceError: if the service refuses the image, or cannot explain it.
            ValueError: if masks are to become polygons.
        """
        if self.label_type == "mask":
            if context.conv_mask_to_poly:
                raise ValueError("saliency has no outline to be drawn as a polygon: leave --conv-mask-to-poly out")
            return self._masks(image, context.conf_threshold or 0.0)
        limit = _MOST_SEEN if self.label_type == "rectangle" else 1
        least = _THRESHOLD if self.label_type == "rectangle" else 0.0
        threshold = least if context.conf_threshold is None else context.conf_threshold
        found = self.client.predict(image, model=self.model, limit=limit)
        return [self._seen(one, image) for one in found if one.score >= threshold]

    def _seen(self, one: Prediction, image: Image.Image) -> annotation.DetectionAnnotation:
        label = self.names.index(one.name)
        if one.box is None:
            return annotation.tag(label)
        x0, y0, x1, y1 = one.box
        points = [max(0.0, x0), max(0.0, y0), min(x1, float(image.width)), min(y1, float(image.height))]
        return annotation.rectangle(label, points)

    def _masks(self, image: Image.Image, threshold: float) -> list[annotation.DetectionAnnotation]:
        """Return a mask for each target; none where the model sees nothing."""
        explanation = self.client.explain(image, model=self.model, **self.parameters)
        try:
            explanation.wait()
        except ServiceError as error:
            if error.code == "no-target":
                return []
            raise
        kept = [target for target in explanation.data.targets if _counts(target, threshold)]
        found = [(target, explanation.region(target.index, level=self.level)) for target in kept]
        return [
            annotation.mask(self.names.index(target.name or ""), encode_mask(inside))
            for target, inside in found
            if inside.any()
        ]


def _counts(target: TargetData, threshold: float) -> bool:
    return target.error is None and (target.score is None or target.score >= threshold)


def create(
    url: str,
    model: str,
    *,
    show: Show = "saliency",
    level: float = 0.5,
    key_file: str | None = None,
    **parameters: Any,
) -> AutoAnnotationFunction:
    """Return a function, as `cvat-cli` asks for one: its arguments are those of `-p`.

    Args:
        url: of the service.
        model: id of a model.
        show: `saliency`: where it looks, as masks; `seen`: what it sees, as rectangles or a tag.
        level: share of the positive saliency that a mask holds, above 0 up to 1.
        key_file: a file with an API key, where the service asks for one; on a command line everybody would see it.
        parameters: of explanations, such as `masks=1000`.

    Raises:
        ValueError: for a model or for something to show that is not there, and for a model whose classes have no names.
    """
    client = Client(url, Path(key_file).read_text().strip() if key_file else None)
    cards = {card.id: card for card in client.models()}
    if model not in cards:
        raise ValueError(f"there is no model {model!r}; there are {', '.join(cards)}")
    kinds = {"saliency": "mask", "seen": "rectangle" if cards[model].task == "detection" else "tag"}
    if show not in kinds:
        raise ValueError(f"show {' or '.join(kinds)}, not {show!r}")
    names = list(dict.fromkeys(cards[model].labels))
    if not names:
        raise ValueError(f"the classes of {model!r} have no names, and labels need them")
    return AutoAnnotationFunction(client, model, names, kinds[show], level, parameters)
