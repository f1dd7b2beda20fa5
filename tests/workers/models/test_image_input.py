import pytest
import torch
from torch import Tensor

from workers.blackbox import Preprocessing
from workers.model_io.image_input import ImageInput, image_input, preprocessing_for, run_batched
from workers.model_io.model_entry import ModelEntry, PreprocessingEntry
from workers.model_io.outputs import Outputs


def entry(**preprocessing: object) -> ModelEntry:
    said = PreprocessingEntry.model_validate(preprocessing)
    return ModelEntry(loader="onnx", source="-", preprocessing=said)


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 11])
@pytest.mark.parametrize(("least", "most"), [(1, None), (1, 4), (4, 4), (3, 8)])
def test_every_picture_is_shown_once_in_parts_that_the_graph_takes(count: int, least: int, most: int | None) -> None:
    shown: list[int] = []

    def run(images: Tensor) -> Outputs:
        shown.append(len(images))
        return {"mean": images.mean((1, 2, 3))}

    images = torch.rand(count, 3, 4, 4)
    given = ImageInput("nchw", 3, (4, 4), least=least, most=most)
    found = torch.cat([part["mean"] for part in run_batched(run, given, images)])
    assert torch.allclose(found, images.mean((1, 2, 3)))
    assert all(size >= least and (most is None or size <= most) for size in shown)


def test_pictures_that_are_as_the_graph_takes_them_are_not_copied() -> None:
    images, places = torch.rand(2, 3, 4, 4), []

    def run(given: Tensor) -> Outputs:
        places.append(given.data_ptr())
        return {"all": given}

    list(run_batched(run, ImageInput("nchw", 3, (4, 4)), images))
    assert places == [images.data_ptr()]


def test_bytes_are_rounded_and_kept_within_their_range() -> None:
    images = torch.tensor([-3.0, 0.4, 254.6, 300.0]).view(1, 1, 2, 2)
    given = ImageInput("nhwc", 1, (2, 2), torch.uint8)
    ((outputs),) = run_batched(lambda shown: {"all": shown}, given, images)
    assert outputs["all"].dtype == torch.uint8
    assert outputs["all"].shape == (1, 2, 2, 1)
    assert outputs["all"].flatten().tolist() == [0, 0, 255, 255]


def test_an_output_whose_first_axis_does_not_count_pictures_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'rows' has shape \[7, 6\] for 2 pictures"):
        list(run_batched(lambda _: {"rows": torch.zeros(7, 6)}, ImageInput("nchw", 3, (4, 4)), torch.zeros(2, 3, 4, 4)))


@pytest.mark.parametrize(
    ("shape", "layout", "channels", "size"),
    [
        ([None, 3, 4, 5], "nchw", 3, (4, 5)),
        ([8, 4, 5, 1], "nhwc", 1, (4, 5)),
        ([None, 3, 4, 3], "nchw", 3, (4, 3)),
        ([None, None, None, None], "nchw", None, None),
    ],
)
def test_the_layout_is_where_the_channels_are(
    shape: list[int | None], layout: str, channels: int | None, size: tuple[int, int] | None
) -> None:
    given = image_input(shape, None, torch.float32)
    assert (given.layout, given.channels, given.size) == (layout, channels, size)
    assert given.fixed_batch == shape[0]


def test_a_graph_of_any_size_takes_the_size_that_the_entry_gives_or_that_of_the_picture_to_scale() -> None:
    given = image_input([None, 3, None, None], None, torch.float32)
    assert preprocessing_for(given, entry(size=40)).size == (40, 40)
    scaled = preprocessing_for(given, entry(resize="scale", shortest_side=20))
    assert scaled == Preprocessing(None, resize="scale", shortest_side=20)
    with pytest.raises(ValueError, match=r"preprocessing\.size"):
        preprocessing_for(given, entry())
