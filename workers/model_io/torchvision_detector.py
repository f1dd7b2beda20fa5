"""torchvision's detectors with every proposal left in: no score threshold, no suppression, whole class vectors.

Each of them ends in a method `postprocess_detections`. The functions here replace it and keep, for every proposal that
the network regresses, the scores of all classes. Class 0 is "no object", as torchvision has it.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from workers.blackbox import Preprocessing

_PROPOSALS = 1000  # of one picture; heads that score every place have a hundred times as many, nearly all of them empty

Scores = Callable[[Mapping[str, Tensor]], Tensor]


class Proposals(nn.Module):
    """A detector of torchvision as a function from pictures to stacked proposals.

    Args:
        model: the detector; it is changed.

    Raises:
        ValueError: if it is of a kind whose proposals cannot be reached.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        model.transform.normalize = _as_it_is  # because normalisation is done before, once for all masks
        kind = type(model).__name__
        if hasattr(model, "roi_heads"):
            heads = model.roi_heads
            heads.postprocess_detections = partial(_of_regions, heads.box_coder)
            heads.mask_roi_pool = heads.keypoint_roi_pool = None  # because masks of a thousand proposals are not used
        elif kind in _DENSE:
            model.postprocess_detections = partial(_of_places, _DENSE[kind], model.box_coder)
        else:
            raise ValueError(f"detectors of the kind {kind} are not supported")

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return `boxes` `[B, P, 4]` in pixels of the input and `scores` `[B, P, 1 + C]` of normalised `[B, 3, H, W]`.

        Images with fewer proposals than others are padded with proposals of the class "no object".
        """
        found = self.model(list(images))
        count = max(1, *(len(one["boxes"]) for one in found))
        boxes = [functional.pad(one["boxes"], (0, 0, 0, count - len(one["boxes"]))) for one in found]
        scores = [_filled(one["scores"], count) for one in found]
        return {"boxes": torch.stack(boxes), "scores": torch.stack(scores)}


def preprocessing_of_detector(model: Any) -> Preprocessing:
    """Return the preprocessing in a detector's own transform: it is applied before, so that masks have its geometry."""
    transform = model.transform
    mean, std = tuple(transform.image_mean), tuple(transform.image_std)
    if transform.fixed_size is not None:
        width, height = transform.fixed_size
        return Preprocessing(size=(height, width), mean=mean, std=std)
    return Preprocessing(
        size=None,
        resize="scale",
        shortest_side=transform.min_size[-1],
        longest_side=transform.max_size,
        mean=mean,
        std=std,
    )


def _as_it_is(image: Tensor) -> Tensor:
    return image


def _filled(scores: Tensor, count: int) -> Tensor:
    missing = count - len(scores)
    nothing = functional.one_hot(torch.zeros(missing, dtype=torch.long, device=scores.device), scores.shape[1])
    return torch.cat([scores, nothing.to(scores.dtype)])


def _of_regions(
    coder: Any, class_logits: Tensor, regression: Tensor, regions: list[Tensor], shapes: list[tuple[int, int]]
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Return boxes, scores `[P, 1 + C]` and labels of the regions of each picture; a box is that of its best class."""
    counts = [len(one) for one in regions]
    scores = class_logits.softmax(-1)
    labels = scores[:, 1:].argmax(-1) + 1
    every_class = coder.decode(regression, regions)  # [P, 1 + C, 4]
    boxes = every_class[torch.arange(len(labels), device=labels.device), labels]
    inside = [_clipped(one, shape) for one, shape in zip(torch.split(boxes, counts), shapes, strict=True)]
    return inside, list(torch.split(scores, counts)), list(torch.split(labels, counts))


def _of_places(
    scores_of: Scores, coder: Any, outputs: Mapping[str, Any], anchors: list[Any], shapes: list[tuple[int, int]]
) -> list[dict[str, Tensor]]:
    """Return the most certain proposals of each picture, of a head that scores every place."""
    whole = {name: torch.cat(value, 1) if isinstance(value, list) else value for name, value in outputs.items()}
    every = scores_of(whole)  # [B, places, 1 + C]
    decode = getattr(coder, "decode_single", coder.decode)
    found = []
    for index, shape in enumerate(shapes):
        places = torch.cat(anchors[index]) if isinstance(anchors[index], list) else anchors[index]
        certain = every[index, :, 1:].amax(-1)
        best = certain.topk(min(_PROPOSALS, len(certain))).indices
        boxes = _clipped(decode(whole["bbox_regression"][index, best], places[best]), shape)
        found.append({"boxes": boxes, "scores": every[index, best]})
    return found


def _clipped(boxes: Tensor, shape: tuple[int, int]) -> Tensor:
    height, width = shape
    return torch.stack([boxes[:, 0::2].clamp(0, width), boxes[:, 1::2].clamp(0, height)], -1).flatten(1)


def _softmax(outputs: Mapping[str, Tensor]) -> Tensor:
    return outputs["cls_logits"].softmax(-1)


def _sigmoid(outputs: Mapping[str, Tensor]) -> Tensor:
    return _with_nothing(outputs["cls_logits"].sigmoid())


def _sigmoid_at_centres(outputs: Mapping[str, Tensor]) -> Tensor:
    """Return FCOS's scores: the geometric mean of class and centredness."""
    return _with_nothing((outputs["cls_logits"].sigmoid() * outputs["bbox_ctrness"].sigmoid()).sqrt())


def _with_nothing(scores: Tensor) -> Tensor:
    """Set class 0, which is untrained with sigmoids, to the probability that there is no object."""
    return torch.cat([1 - scores[..., 1:].amax(-1, keepdim=True), scores[..., 1:]], -1)


_DENSE: dict[str, Scores] = {"RetinaNet": _sigmoid, "FCOS": _sigmoid_at_centres, "SSD": _softmax}
