"""A model for the loader `python` that does what stands in a file: a real model until it is told to misbehave."""

import ctypes
import os
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from workers.blackbox import BlackBox
from workers.demo import shapes

MOOD = "MOODY_FILE"
_LONG_SECONDS = 1000


def load() -> BlackBox:
    """Return `shapes` with moods."""
    black_box = shapes.load()
    well, mood = black_box.forward, Path(os.environ[MOOD])

    def forward(images: Tensor) -> Tensor:
        scores: Tensor = well(images)
        _live(mood)
        return scores

    return replace(black_box, forward=forward)


def _live(mood: Path) -> None:
    match mood.read_text():
        case "hangs":
            time.sleep(_LONG_SECONDS)
        case "is slow":
            time.sleep(1)
        case "hangs once":
            mood.write_text("well")
            time.sleep(_LONG_SECONDS)
        case "keeps the interpreter":
            ctypes.PyDLL(None).sleep(_LONG_SECONDS)  # because PyDLL, unlike CDLL, does not let go of it
        case "is killed":
            os.kill(os.getpid(), 9)
        case "aborts":
            os.abort()
        case "breaks the device":
            raise torch.AcceleratorError("CUDA error: device-side assert triggered\nSearch for `cudaErrorAssert'")
        case "has no kernel":
            raise torch.AcceleratorError("CUDA error: no kernel image is available for execution on the device")
