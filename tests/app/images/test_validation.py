import io

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from app.contract.errors import RiseError
from app.contract.images.decoding import decode, open_image, upright_bytes
from app.contract.settings import Settings
from app.images.decoder import probe
from app.images.validation import ImageValidator
from tests.support.hostile_images import encoded, picture, png_that_claims, refused, unusual
from tests.support.image_validation import validate


@pytest.mark.parametrize("name", unusual())
def test_an_unusual_image_is_read_upright_as_rgb(name: str) -> None:
    content, size = unusual()[name]
    info = validate(content).info
    assert (info.width, info.height) == size
    image = decode(content)
    assert image.mode == "RGB"
    assert image.size == size


@pytest.mark.parametrize("name", refused())
def test_what_is_no_image_is_refused_with_a_reason(name: str) -> None:
    with pytest.raises(RiseError) as caught:
        validate(refused()[name])
    assert caught.value.code in {"unreadable-image", "image-too-large"}


def test_pixels_are_counted_before_they_are_decoded() -> None:
    with pytest.raises(RiseError, match="100000 x 100000"):
        validate(png_that_claims(100_000, 100_000))


def test_bytes_over_the_limit_are_refused() -> None:
    content = encoded(picture(), "PNG")
    with pytest.raises(RiseError) as caught:
        validate(content, ImageValidator(Settings(max_image_bytes=len(content) - 1)))
    assert caught.value.code == "image-too-large"
    assert validate(content, ImageValidator(Settings(max_image_bytes=len(content)))).info.width == 60


def test_sixteen_bits_keep_their_range() -> None:
    values = np.asarray(decode(unusual()["16-bit png"][0]))
    assert values.min() <= 1
    assert values.max() >= 254
    assert len(np.unique(values)) > 200


def test_transparency_shows_white() -> None:
    clear = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
    assert np.asarray(decode(encoded(clear, "PNG"))).min() == 255


def test_rotation_by_exif_moves_pixels_to_where_people_see_them() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = Image.new("RGB", (40, 20), "black")
    lying.paste("white", (0, 0, 20, 20))
    upright = np.asarray(decode(encoded(lying, "PNG", exif=exif.tobytes())))
    assert upright.shape == (40, 20, 3)
    assert upright[:20].min() == 255
    assert upright[20:].max() == 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_the_one_that_the_upright_image_has(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(picture(40, 24), "JPEG", exif=exif)
    info = validate(content).info
    assert (info.width, info.height) == decode(content).size


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_pixels_are_turned_as_pillow_turns_them(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(picture(40, 24), kind, exif=exif)
    turned = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    assert np.array_equal(np.asarray(decode(content)), np.asarray(turned))


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_photograph_with_more_pictures_behind_it_is_the_jpeg_that_it_begins_with(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(picture(40, 24), "MPO", save_all=True, append_images=[picture(80, 80)], exif=exif.tobytes())
    first = content[: content.index(b"\xff\xd9") + 2]
    assert Image.open(io.BytesIO(content)).format == "MPO"
    info = validate(content).info
    assert (info.media_type, info.width, info.height) == ("image/jpeg", *decode(first).size)
    assert np.array_equal(np.asarray(decode(content)), np.asarray(decode(first)))
    assert upright_bytes(content)[1] == ("image/jpeg" if orientation == 1 else "image/png")


def test_a_progressive_photograph_with_more_pictures_behind_it_is_read_too() -> None:
    content = encoded(picture(), "MPO", save_all=True, append_images=[picture()], progressive=True)
    assert validate(content).info.media_type == "image/jpeg"


def test_a_format_that_pillow_finds_inside_another_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "format", "APNG")
    content = encoded(picture(), "PNG")
    with pytest.raises(OSError, match="APNG is not one of JPEG"):
        open_image(content)
    assert probe(content, max_pixels=10_000) is None


def test_a_jpeg_that_ends_early_is_refused_wherever_it_ends() -> None:
    content = encoded(picture(200, 150), "JPEG")
    for share in (0.5, 0.9, 0.99):
        with pytest.raises(RiseError, match="cannot be read"):
            validate(content[: int(share * len(content))])


def test_an_image_that_was_validated_once_is_known_and_one_that_was_refused_is_refused_again() -> None:
    validator, good = ImageValidator(Settings(max_image_bytes=100_000)), encoded(picture(), "PNG")
    broken = good[: len(good) // 2]
    for _ in range(2):
        assert validate(good, validator).info == validate(good).info
        with pytest.raises(RiseError):
            validate(broken, validator)
