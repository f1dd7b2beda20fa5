"""The real photographs behind the drawn shapes: those that the scikit-image package carries inside itself.

Only training and tests import this file; a loaded demo model needs neither scikit-image nor a photograph.
Nothing is downloaded: a file that is not in the package's data folder is an error.
"""

from collections.abc import Sequence
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# motorcycle_right.png shows the same scene as motorcycle_left.png, so neither list may hold it.
TRAINING_PHOTOGRAPHS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "page.png",
    "retina.jpg",
    "text.png",
)
HELD_OUT_PHOTOGRAPHS = ("chelsea.png", "coffee.png", "rocket.jpg")


def load_photographs(names: Sequence[str]) -> list[NDArray[np.uint8]]:
    """Read photographs from the data folder inside scikit-image.

    Returns:
        One RGB array `[H, W, 3]` per name, in the order of the names; grey photographs repeat their one channel.

    Raises:
        FileNotFoundError: if the installed scikit-image does not carry one of them.
    """
    folder = files("skimage") / "data"
    photographs = []
    for name in names:
        with (folder / name).open("rb") as stream, Image.open(stream) as photograph:
            photographs.append(np.asarray(photograph.convert("RGB")))
    return photographs
