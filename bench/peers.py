"""The same work by others, in the same run: xaitk-saliency, and RISE as its authors' code does it."""

import statistics
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.transform import resize
from smqtk_classifier.interfaces.classify_image import ClassifyImage
from xaitk_saliency.impls.gen_image_classifier_blackbox_sal.rise import RISEStack

from bench.loop import explain, null_study, photograph
from bench.networks import null_classifier
from bench.rows import Row
from bench.stopwatch import median_ratio, seconds_of

OURS, THEIRS = 4096, 256


class NullInXaitk(ClassifyImage):
    """The model that does nothing, as xaitk-saliency wants it: one image after another."""

    def __init__(self) -> None:
        self._model = null_classifier()

    def get_labels(self) -> list[str]:
        return list(self._model.labels)

    def classify_images(self, img_iter: Any) -> Iterator[dict[str, float]]:
        for image in img_iter:
            tensor = torch.from_numpy(np.asarray(image, dtype=np.float32) / 255).permute(2, 0, 1)[None]
            scores = self._model.forward(tensor)[0].tolist()
            yield dict(zip(self._model.labels, scores, strict=True))

    def get_config(self) -> dict[str, Any]:
        return {}


def authors_way(image: NDArray[np.uint8], masks: int, cells: int = 7) -> NDArray[np.float32]:
    """RISE as published code does it: all masks first, one by one with scikit-image, then batches, then one product."""
    random, side = np.random.default_rng(0), image.shape[0]
    cell = -(-side // cells)
    grids = (random.random((masks, cells, cells)) < 0.5).astype(np.float32)
    stack = np.empty((masks, side, side), dtype=np.float32)
    for index, grid in enumerate(grids):
        y, x = random.integers(0, cell, 2)
        shape = ((cells + 1) * cell,) * 2
        large: Any = resize(grid, shape, order=1, mode="reflect", anti_aliasing=False)  # type: ignore[no-untyped-call]
        stack[index] = large[y : y + side, x : x + side]
    model, tensor = null_classifier(), torch.from_numpy(image.astype(np.float32) / 255).permute(2, 0, 1)
    parts: Any = torch.from_numpy(stack).split(100)  # type: ignore[no-untyped-call]  # because torch has not typed it
    scores = torch.cat([model.forward(part[:, None] * tensor) for part in parts])
    summed = scores.T @ torch.from_numpy(stack).flatten(1) / masks / 0.5
    return summed.view(-1, side, side).numpy()


def rows(rounds: int) -> list[Row]:
    """Return milliseconds per mask with the model that does nothing, and how much more others need."""
    image = np.asarray(photograph(224, 224))
    xaitk, model = RISEStack(n=THEIRS, s=7, p1=0.5, seed=0, threads=0, debiased=True), NullInXaitk()
    study = null_study(OURS)
    masks = study.blocks * study.block_size
    measured = seconds_of(
        {
            "ours": partial(explain, study),
            "xaitk": lambda: xaitk.generate(image, model),
            "authors": lambda: authors_way(image, THEIRS),
        },
        rounds=rounds,
    )
    own = statistics.median(measured["ours"]) / masks * 1000
    found = [Row("null model, 224 x 224, 7 x 7 cells: ms per mask", f"{own:.3f} ({masks} masks)", "<= 0.2", own <= 0.2)]
    for name, words in (("xaitk", "xaitk-saliency 0.15 (RISEStack)"), ("authors", "all masks first, by scikit-image")):
        ratio = median_ratio(measured, name, "ours") * masks / THEIRS
        theirs = statistics.median(measured[name]) / THEIRS * 1000
        value = f"{ratio:.0f} times ({theirs:.2f} ms per mask)"
        found.append(Row(f"the same by {words}, over ours", value, ">= 15 times", ratio >= 15))
    return found
