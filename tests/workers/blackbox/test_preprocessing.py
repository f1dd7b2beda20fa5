"""Pictures become a model's input by its own rule, and boxes find their way back."""

import numpy as np
import pytest
import torch
from PIL import Image

from workers.blackbox import Preprocessing
from workers.blackbox.preprocessing import input_transform, normalise, pixels, to_input
from workers.model_io.model_entry import ModelEntry
from workers.model_io.preprocessing_config import preprocessing_of


def photograph(width: int, height: int) -> Image.Image:
    """Return smooth colours: what resampling rules should agree on."""
    noise = np.random.default_rng(1).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def entry(**fields: object) -> ModelEntry:
    return ModelEntry.model_validate({"loader": "python", "source": "x", **fields})


def test_a_crop_shows_what_pillow_shows_after_resize_and_centre_crop() -> None:
    image = photograph(400, 300)
    preprocessing = Preprocessing(size=(224, 224), resize="crop", shortest_side=256)
    ours = to_input(pixels(image)[None], preprocessing)[0]
    resized = image.resize((341, 256), Image.Resampling.BILINEAR)
    theirs = pixels(resized.crop((59, 16, 59 + 224, 16 + 224)))
    assert (ours - theirs).abs().mean() < 0.01


def test_scale_keeps_proportions_within_both_limits() -> None:
    preprocessing = Preprocessing(size=None, resize="scale", shortest_side=100, longest_side=150)
    assert to_input(torch.rand(1, 3, 50, 60), preprocessing).shape[2:] == (100, 120)
    assert to_input(torch.rand(1, 3, 50, 200), preprocessing).shape[2:] == (38, 150)


@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing(size=(64, 96)),
        Preprocessing(size=(64, 96), resize="crop"),
        Preprocessing(size=(64, 96), resize="crop", shortest_side=72),
        Preprocessing(size=(64, 96), resize="letterbox"),
        Preprocessing(size=None, resize="scale", shortest_side=40, longest_side=64),
    ],
    ids=["stretch", "crop", "crop-smaller", "letterbox", "scale"],
)
def test_a_mark_is_where_the_lens_says_it_is(preprocessing: Preprocessing) -> None:
    picture = torch.zeros(1, 3, 120, 200)
    picture[:, :, 60:70, 100:112] = 1
    seen = to_input(picture, preprocessing)[0]
    lens = input_transform(200, 120, preprocessing)
    assert seen.shape[1:] == lens.size
    x0, y0, x1, y1 = lens.to_input((100, 60, 112, 70))
    bright = (seen > 0.7).all(0)
    rows, columns = (torch.where(bright.any(side))[0] for side in (1, 0))
    assert abs((columns[0] + columns[-1] + 1) / 2 - (x0 + x1) / 2) <= 1
    assert abs((rows[0] + rows[-1] + 1) / 2 - (y0 + y1) / 2) <= 1
    assert lens.to_image((x0, y0, x1, y1)) == pytest.approx((100, 60, 112, 70))


def test_channels_come_in_the_order_of_the_model() -> None:
    picture = torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1).expand(3, 4, 4)
    swapped = normalise(picture, Preprocessing(size=None, channels="bgr", mean=(0.3, 0.0, 0.0), std=(1.0, 1.0, 1.0)))
    assert swapped[:, 0, 0].tolist() == pytest.approx([0.0, 0.2, 0.1])
    grey = normalise(picture, Preprocessing(size=None, channels="grey", std=(1 / 255,)))
    assert grey.shape == (1, 4, 4)
    assert grey[0, 0, 0].item() == pytest.approx(255 * (0.0299 + 0.1174 + 0.0342), rel=1e-4)


def test_bicubic_stays_within_the_range_of_pixels() -> None:
    edge = torch.zeros(1, 3, 40, 40)
    edge[..., 20:] = 1
    seen = to_input(edge, Preprocessing(size=(90, 90), interpolation="bicubic"))
    assert seen.min() >= 0
    assert seen.max() <= 1


def test_an_entry_overrules_what_the_source_says_field_by_field() -> None:
    found = Preprocessing(size=(224, 224), resize="crop", mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0), shortest_side=256)
    merged = preprocessing_of(entry(preprocessing={"size": 64, "mean": [0.5]}), found)
    assert (merged.size, merged.resize, merged.mean, merged.shortest_side) == ((64, 64), "crop", (0.5,), 256)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({}, "size"),
        ({"resize": "scale"}, "shortest_side"),
        ({"resize": "scale", "shortest_side": 64, "size": 3}, "size"),
        ({"size": 64, "mean": [0.5, 0.5]}, "mean: 2 numbers"),
        ({"size": 64, "channels": "grey", "std": [1, 1, 1]}, "std: 3 numbers"),
    ],
)
def test_preprocessing_that_does_not_fit_together_is_refused(said: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        preprocessing_of(entry(preprocessing=said))
