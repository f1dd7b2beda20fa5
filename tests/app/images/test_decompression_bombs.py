"""Small files that take seconds or gigabytes to decode end a child process, not the front end."""

import re
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from PIL import Image

from app.contract.errors import RiseError
from app.contract.images.decoding import decode
from app.contract.settings import Settings
from app.images.decoder_pool import DecoderDiedError, DecoderPool
from app.images.validation import ImageValidator
from tests.support.hostile_images import encoded, picture, png_that_claims
from tests.support.image_validation import validate

SHORT, LONG, RATIONAL, UNDEFINED = 3, 4, 5, 7
PNG = encoded(picture(), "PNG")
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


def png_with(kind: bytes, number: int) -> bytes:
    """Return a PNG with compressed texts in front of its pixels; their megabyte each is not UTF-8."""
    text = b"k\0\1\0\0\0" + zlib.compress(b"\xff" * 1_000_000)
    chunk = struct.pack(">I", len(text)) + kind + text + struct.pack(">I", zlib.crc32(kind + text))
    plain = encoded(picture(), "PNG")
    return plain[:33] + number * chunk + plain[33:]


MILLION = 1_000_000
STRIPS_OF_A_PIXEL = {256: one(1), 257: one(MILLION), 273: many(MILLION), 278: one(1), 279: many(MILLION, 1)}
BOMBS = {"strips of a pixel": tiff(STRIPS_OF_A_PIXEL), "texts of a megabyte each": png_with(b"iTXt", 2000)}
TILE_OF_32768 = tiff({259: one(5), 322: one(32_768), 323: one(32_768), 324: one(None), 325: one(10_000)})


@pytest.fixture
def pool() -> Iterator[DecoderPool]:
    """Yield a pool of one process with a second for each image."""
    pool = DecoderPool(1, max_pixels=1_000_000, cpu_seconds=1)
    before = set(children())
    yield pool
    pool.close()
    assert set(children()) <= before


def children() -> list[psutil.Process]:
    """Return the child processes that decode, the newest last."""
    return [child for child in psutil.Process().children() if _decodes(child)]


def _decodes(child: psutil.Process) -> bool:
    try:
        return "app.images.decoder" in " ".join(child.cmdline())
    except psutil.NoSuchProcess:  # because one that was killed stays as a zombie until it is waited for
        return False


@pytest.mark.parametrize("name", BOMBS)
def test_an_image_that_takes_too_much_time_is_refused_and_the_next_one_is_read(
    name: str, pool: DecoderPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    validator = ImageValidator(Settings())
    monkeypatch.setattr(validator, "_pool", pool)
    with pytest.raises(RiseError, match="too much time or memory") as refused:
        validate(BOMBS[name], validator)
    assert refused.value.code == "unreadable-image"
    assert validate(PNG, validator).info.width == 60


def test_a_tile_that_is_far_larger_than_its_image_gets_no_memory(pool: DecoderPool) -> None:
    assert pool.probe(TILE_OF_32768) is None
    peak = re.search(r"VmPeak:\s+(\d+) kB", Path(f"/proc/{children()[-1].pid}/status").read_text())
    assert peak is not None
    assert int(peak[1]) * 1024 < 330_000_000


def test_a_process_that_is_killed_is_replaced_at_work_and_at_rest(pool: DecoderPool) -> None:
    assert pool.probe(PNG) is not None
    children()[-1].kill()
    with suppress(DecoderDiedError):  # because it may die after it was found well
        pool.probe(PNG)
    assert pool.probe(PNG) == ("PNG", 60, 40, None)


def test_a_decoder_has_no_file_or_secret_of_its_parent(pool: DecoderPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RISE_WEBHOOK_SECRET", "not to be passed on")
    with socket.create_server(("127.0.0.1", 0)):
        pool.probe(PNG)
        child = children()[-1]
        assert sorted(int(file.name) for file in Path(f"/proc/{child.pid}/fd").iterdir()) == [0, 1, 2]
    assert "RISE_WEBHOOK_SECRET" not in child.environ()


SCRIPT = """
import os, psutil
from app.images.decoder_pool import DecoderPool
DecoderPool(1, max_pixels=100).probe(b"no image")
print(psutil.Process().children()[0].pid, flush=True)
os.kill(os.getpid(), 9)
"""


def test_a_decoder_ends_with_its_parent_even_if_that_is_killed() -> None:
    parent = subprocess.run([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, check=False)
    assert parent.returncode == -9
    while is_running(int(parent.stdout)):
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


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
    info = validate(USUAL[name]).info
    assert decode(USUAL[name]).size == (info.width, info.height)


def test_an_old_bmp_has_no_compression_whatever_stands_in_its_place() -> None:
    pixels = b"\1" * 2 * 100
    head = struct.pack("<IHHHH", 12, 2, 100, 1, 8) + b"\0\0\0\0\1\0\0\0" + bytes(256 * 3 - 8)
    content = b"BM" + struct.pack("<IHHI", 14 + len(head) + 2 * len(pixels), 0, 0, 14 + len(head)) + head + 2 * pixels
    assert content[30:34] == b"\1\0\0\0"
    assert validate(content).info.height == 100


def test_a_claim_of_too_many_pixels_is_told_as_such_for_a_tiff_too() -> None:
    huge = tiff({**STRIP, 256: one(100_000), 257: one(100_000)})
    for content in (huge, png_that_claims(100_000, 100_000)):
        with pytest.raises(RiseError, match="100000 x 100000") as refused:
            validate(content)
        assert refused.value.code == "image-too-large"


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_an_image_is_turned_without_its_exif_being_written_anew(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(picture(40, 24), kind, exif=exif.tobytes())
    written: list[Image.Exif] = []
    monkeypatch.setattr(Image.Exif, "tobytes", written.append)
    assert decode(content).size == (24, 40)
    assert written == []
