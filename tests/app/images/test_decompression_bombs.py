"""Small files that would take seconds, or most of the memory, to decode are refused before they are opened."""

import struct
import zlib
from collections.abc import Mapping

import pytest
from PIL import Image

from app.contract.errors import RiseError
from app.contract.images import decode
from app.contract.settings import Settings
from app.images.validation import ImageValidator
from tests.support.hostile_images import encoded, picture, png_that_claims

SHORT, LONG, RATIONAL, UNDEFINED = 3, 4, 5, 7
PIXELS = bytes(range(100)) * 100
GREY = {256: 100, 257: 100, 258: 8, 259: 1, 262: 1, 277: 1}

Tag = tuple[int, int, int | bytes | None]  # type, length and value; None is where the pixels are


def many(length: int, value: int = 8) -> tuple[int, int, bytes]:
    return (LONG, length, struct.pack("<I", value) * length)


def one(value: int | None, kind: int = LONG) -> tuple[int, int, int | None]:
    return (kind, 1, value)


def tiff(tags: Mapping[int, Tag], order: str = "<", large: bool = False) -> bytes:
    """Return a grey TIFF of 100 x 100 pixels, where its tags do not say otherwise."""
    base: dict[int, Tag] = {number: one(value) for number, value in GREY.items()}
    every = sorted((base | dict(tags)).items())
    room, offset = (8, "Q") if large else (4, "I")
    behind = (16 + 8 + 20 * len(every) + 8) if large else (8 + 2 + 12 * len(every) + 4)
    more, directory = PIXELS, struct.pack(order + ("Q" if large else "H"), len(every))
    for number, (kind, length, value) in every:
        if isinstance(value, bytes):
            field, more = struct.pack(order + offset, behind + len(more)), more + value
        else:
            field = struct.pack(order + ("H" if kind == SHORT else "I"), behind if value is None else value)
        directory += struct.pack(order + "HH" + offset, number, kind, length) + field.ljust(room, b"\0")
    magic = b"II" if order == "<" else b"MM"
    head = struct.pack("<2sHHHQ", magic, 43, 8, 0, 16) if large else magic + struct.pack(order + "HI", 42, 8)
    return head + directory + struct.pack(order + offset, 0) + more


STRIP = {273: one(None), 279: one(len(PIXELS))}
TILE_OF_16384 = {322: one(16_384), 323: one(16_384), 324: one(None), 325: one(10_000)}


def bmp(compression: int, header: int = 40) -> bytes:
    """Return a black BMP of 1000 x 50 pixels in run lengths."""
    runs = (b"\xff\0" * 3 + b"\xeb\0" + b"\0\0") * 50 + b"\0\1"
    fields = struct.pack("<IiiHHIIiiII", header, 1000, 50, 1, 8, compression, len(runs), 1, 1, 256, 256)
    head = fields + b"\0" * (header - 40) + b"\0\1\2\0" * 256
    return b"BM" + struct.pack("<IHHI", 14 + len(head) + len(runs), 0, 0, 14 + len(head)) + head + runs


def png_with(kind: bytes, number: int) -> bytes:
    """Return a PNG with compressed texts in front of its pixels; their megabyte each is not UTF-8."""
    text = b"k\0\1\0\0\0" + zlib.compress(b"\xff" * 1_000_000)
    chunk = struct.pack(">I", len(text)) + kind + text + struct.pack(">I", zlib.crc32(kind + text))
    plain = encoded(picture(), "PNG")
    return plain[:33] + number * chunk + plain[33:]


COSTLY = {
    "run lengths of 8 bits": (bmp(1), "send PNG"),
    "run lengths of 4 bits": (bmp(2), "send PNG"),
    "run lengths under a longer header": (bmp(1, header=124), "send PNG"),
    "more strips than rows": (tiff({273: many(101), 278: one(1), 279: one(100)}), "101 strips or tiles; 100 make"),
    "strips of more rows than there are": (tiff({273: many(2), 278: one(2**32 - 1), 279: one(100)}), "; 1 make"),
    "strips of no row": (tiff({273: many(101), 278: one(0), 279: one(100)}), "; 100 make"),
    "more tiles than cover it": (tiff({322: one(64, SHORT), 323: one(64), 324: many(5), 325: many(5)}), "; 4 make"),
    "more strips than any writer writes": (
        tiff({257: one(60_000), 273: many(60_000), 278: one(1), 279: one(1)}),
        "at most 50000 are read",
    ),
    "a tile of 16,384 x 16,384": (tiff(TILE_OF_16384), "tiles of 16384 x 16384"),
    "a tile with the highest byte first": (tiff(TILE_OF_16384, ">"), "tiles of 16384 x 16384"),
    "a tile in a BigTIFF": (tiff(TILE_OF_16384, large=True), "tiles of 16384 x 16384"),
    "a tile that is given twice": (
        tiff({**TILE_OF_16384, 322: one(16), 323: one(16), 321: one(16_384)}).replace(
            struct.pack("<HH", 321, LONG), struct.pack("<HH", 322, LONG)
        ),
        "cannot be read",
    ),
    "a tile whose size lies elsewhere": (tiff({**TILE_OF_16384, 322: many(2, 16_384)}), "cannot be read"),
    "a million numbers": (tiff({**STRIP, 258: (SHORT, 1_000_000, b"\x08\0" * 1_000_000)}), "1000007 numbers"),
    "rationals": (tiff({**STRIP, 282: (RATIONAL, 400_000, b"\1\0\0\0" * 800_000)}), "numbers"),
    "thousands of tags": (tiff({**STRIP, **{number: one(1) for number in range(40_000, 42_000)}}), "tags"),
    "a BigTIFF with the highest byte first": (b"MM\0+" + tiff(STRIP, ">")[4:], "cannot be read"),
    "texts that are none": (png_with(b"iTXt", 300), "compressed texts"),
    "profiles": (png_with(b"iCCP", 300), "compressed texts"),
}


@pytest.mark.parametrize("name", COSTLY)
def test_what_would_take_for_ever_is_refused_with_the_reason_and_not_opened(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, reason = COSTLY[name]
    opened: list[bytes] = []
    monkeypatch.setattr("app.images.validation.open_image", opened.append)
    with pytest.raises(RiseError, match=reason) as refused:
        ImageValidator(Settings()).check(content)
    assert refused.value.code == "unreadable-image"
    assert opened == []


USUAL = {
    "one strip": tiff(STRIP),
    "one strip, highest byte first": tiff(STRIP, ">"),
    "one strip of a BigTIFF": tiff(STRIP, large=True),
    "a strip for each row": tiff({273: many(100), 278: one(1), 279: many(100, 100)}),
    "tiles, the last of them wider than the image": tiff(
        {322: one(64, SHORT), 323: one(64, SHORT), 324: many(4), 325: many(4, 4096)}
    ),
    "a large profile": tiff({**STRIP, 34675: (UNDEFINED, 1_000_000, b"\0" * 1_000_000)}),
    "colours of a palette of 16 bits": tiff({**STRIP, 320: (SHORT, 196_608, b"\0\0" * 196_608)}),
    "some texts": png_with(b"iTXt", 20),
    "a BMP without run lengths": encoded(picture(), "BMP"),
    "an icon's BMP": encoded(picture(mode="1"), "BMP"),
    **{f"a TIFF by {kind}": encoded(picture(), "TIFF", compression=kind) for kind in ("tiff_lzw", "jpeg", "packbits")},
    "a BigTIFF": encoded(picture(), "TIFF", big_tiff=True),
}


@pytest.mark.parametrize("name", USUAL)
def test_what_writers_write_is_read(name: str) -> None:
    info = ImageValidator(Settings()).check(USUAL[name]).info
    assert decode(USUAL[name]).size == (info.width, info.height)


def test_an_old_bmp_has_no_compression_whatever_stands_in_its_place() -> None:
    pixels = b"\1" * 2 * 100
    head = struct.pack("<IHHHH", 12, 2, 100, 1, 8) + b"\0\0\0\0\1\0\0\0" + bytes(256 * 3 - 8)
    content = b"BM" + struct.pack("<IHHI", 14 + len(head) + 2 * len(pixels), 0, 0, 14 + len(head)) + head + 2 * pixels
    assert content[30:34] == b"\1\0\0\0"
    assert ImageValidator(Settings()).check(content).info.height == 100


def test_a_claim_of_too_many_pixels_is_told_as_such_for_a_tiff_too() -> None:
    huge = tiff({**STRIP, 256: one(100_000), 257: one(100_000)})
    for content in (huge, png_that_claims(100_000, 100_000)):
        with pytest.raises(RiseError, match="100000 x 100000") as refused:
            ImageValidator(Settings()).check(content)
        assert refused.value.code == "image-too-large"


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_an_image_is_turned_without_its_exif_being_written_anew(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(picture(40, 24), kind, exif=exif.tobytes())
    written: list[Image.Exif] = []
    monkeypatch.setattr(Image.Exif, "tobytes", written.append)
    assert decode(content).size == (24, 40)
    assert ImageValidator(Settings()).check(content).info.height == 40
    assert written == []
