"""Images that nobody wants to get, and some that are only unusual. Each comes with the sizes that are right answers."""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(width: int = 60, height: int = 40, mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def unusual() -> dict[str, tuple[bytes, tuple[int, int]]]:
    """Images that must work, with the width and height of their upright form."""
    rotated = Image.Exif()
    rotated[0x0112] = 6
    palette = picture().convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    wide = Image.fromarray(np.linspace(0, 65535, 60 * 40).reshape(40, 60).astype(np.uint16))
    return {
        "animated gif": (
            encoded(picture(), "GIF", save_all=True, append_images=[picture(60, 40), picture(60, 40)]),
            (60, 40),
        ),
        "cmyk jpeg": (encoded(picture(mode="CMYK"), "JPEG"), (60, 40)),
        "16-bit png": (encoded(wide, "PNG"), (60, 40)),
        "palette with transparency": (encoded(palette, "PNG", transparency=0), (60, 40)),
        "exif-rotated": (encoded(picture(), "JPEG", exif=rotated.tobytes()), (40, 60)),
        "1x1": (encoded(picture(1, 1), "PNG"), (1, 1)),
        "1x5000": (encoded(picture(1, 5000), "PNG"), (1, 5000)),
        "5000x1": (encoded(picture(5000, 1), "PNG"), (5000, 1)),
        "grey": (encoded(picture(mode="L"), "PNG"), (60, 40)),
        "grey with alpha": (encoded(picture(mode="LA"), "PNG"), (60, 40)),
        "black and white": (encoded(picture(mode="1"), "PNG"), (60, 40)),
        "alpha": (encoded(picture(mode="RGBA"), "PNG"), (60, 40)),
        "webp": (encoded(picture(), "WEBP"), (60, 40)),
        "bmp": (encoded(picture(), "BMP"), (60, 40)),
        "tiff": (encoded(picture(), "TIFF"), (60, 40)),
        "progressive jpeg": (encoded(picture(), "JPEG", progressive=True), (60, 40)),
    }


def refused() -> dict[str, bytes]:
    """Uploads that must be refused with a problem."""
    jpeg, png = encoded(picture(600, 400), "JPEG"), encoded(picture(), "PNG")
    return {
        "empty": b"",
        "text": b"this is not an image\n" * 10,
        "html": b"<html><script>alert(1)</script></html>",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"/>',
        "truncated jpeg": jpeg[: len(jpeg) // 2],
        "jpeg header alone": jpeg[:20],
        "truncated png": png[: len(png) // 2],
        "png that claims 100,000 x 100,000": png_that_claims(100_000, 100_000),
        "png that claims nothing": png_that_claims(0, 0),
        "png with a broken checksum": png[:40] + bytes([png[40] ^ 255]) + png[41:],
        "zip": b"PK\x03\x04" + b"\0" * 100,
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        "random": np.random.default_rng(1).bytes(5000),
    }


def mutilated(count: int) -> Iterator[bytes]:
    """Yield images with random bytes changed, cut or repeated: a right answer or a problem, never more."""
    random = np.random.default_rng(2)
    whole = [content for content, _ in unusual().values()]
    for number in range(count):
        content = bytearray(whole[number % len(whole)])
        for _ in range(int(random.integers(1, 12))):
            content[int(random.integers(len(content)))] = int(random.integers(256))
        yield bytes(content[: int(random.integers(1, len(content) + 1))] if number % 3 == 0 else content)
