"""Images that it would take out of all proportion to their size to decode: known by their bytes, and never opened."""

from collections.abc import Callable

from app.contract.errors import RiseError
from app.images import tiff
from app.images.jpeg import has_too_many_scans

_MOST_PACKED_TEXTS = 256  # each is unpacked to a megabyte at most
_PACKED_TEXTS = (b"zTXt", b"iTXt", b"iCCP")
_BMP_HEADER, _BMP_COMPRESSION = slice(14, 18), slice(30, 34)
_BMP_OLD_HEADER = 12  # bytes, of OS/2: it knows no compression
_BMP_RUN_LENGTHS = (1, 2)  # of 8 and of 4 bits


def reject_decompression_bomb(content: bytes) -> None:
    """Refuse an image that would take for ever, or all of the memory.

    Raises:
        RiseError: `unreadable-image`, with the reason.
        KeyError, ValueError, struct.error: if the image is broken.
    """
    for beginning, why_costly in _KINDS.items():
        reason = why_costly(content) if content.startswith(beginning) else None
        if reason is not None:
            raise RiseError("unreadable-image", reason)


def _why_a_jpeg(content: bytes) -> str | None:
    return "the image has more scans than are decoded here" if has_too_many_scans(content) else None


def _why_a_png(content: bytes) -> str | None:
    # Pillow unpacks every one of them to read the header, and counts the bytes of those only that it keeps.
    texts = sum(content.count(kind) for kind in _PACKED_TEXTS)
    return "the image has more compressed texts than are read here" if texts > _MOST_PACKED_TEXTS else None


def _why_a_bmp(content: bytes) -> str | None:
    # Pillow decodes these byte by byte in Python: five kilobytes took it ten seconds.
    header = int.from_bytes(content[_BMP_HEADER], "little")
    compression = int.from_bytes(content[_BMP_COMPRESSION], "little")
    if header == _BMP_OLD_HEADER or compression not in _BMP_RUN_LENGTHS:
        return None
    return "run-length encoded BMP is not read here; send PNG"


_KINDS: dict[bytes, Callable[[bytes], str | None]] = {
    b"\xff\xd8": _why_a_jpeg,
    b"\x89PNG": _why_a_png,
    b"BM": _why_a_bmp,
    b"II": tiff.bomb_reason,
    b"MM": tiff.bomb_reason,
}
