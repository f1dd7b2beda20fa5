"""TIFF files by their first directory (TIFF 6.0, section 2, and BigTIFF): what it would take to decode one.

Pillow goes through the strips of a file, and through the numbers of a tag, one by one in Python: a megabyte of them
took it eight seconds. libtiff makes room for a whole tile, however little of it the image shows: 770 MB for ten by ten
pixels.
"""

from struct import Struct
from typing import Literal, NamedTuple

_MOST_TAGS = 1000  # writers write some twenty
_MOST_NUMBERS = 300_000  # of all tags; the colours of a palette of 16 bits are 196,608
_MOST_PIECES = 50_000  # strips or tiles: with 8 KB each, as writers write them, 400 MB
_LARGEST_TILE = 4096 * 4096  # in pixels, where the image is smaller
_UNCOUNTED = frozenset({1, 2, 7})  # bytes, text and undefined: these are not gone through
_NUMBER_BYTES = {3: 2, 4: 4}  # of the types SHORT and LONG

_WIDTH, _HEIGHT, _BANDS = 256, 257, 277
_STRIPS, _STRIP_ROWS = 273, 278
_TILES, _TILE_WIDTH, _TILE_HEIGHT = 324, 322, 323
_LAYOUT = frozenset({_WIDTH, _HEIGHT, _BANDS, _STRIPS, _STRIP_ROWS, _TILES, _TILE_WIDTH, _TILE_HEIGHT})


class _Form(NamedTuple):
    """How a file writes its numbers.

    Attributes:
        order: of the bytes of a number.
        place: of the first directory, after what stands before it.
        size: of a directory, in tags.
        tag: number, type, length, and the value where there is room for it.
    """

    order: Literal["little", "big"]
    place: Struct
    size: Struct
    tag: Struct


_LITTLE = _Form("little", Struct("<4xI"), Struct("<H"), Struct("<HHI4s"))
_LARGE = _Form("little", Struct("<8xQ"), Struct("<Q"), Struct("<HHQ8s"))
_BIG = _Form("big", Struct(">4xI"), Struct(">H"), Struct(">HHI4s"))

# Two of these are wrong, but Pillow reads them. A BigTIFF with the highest byte first is not among them, because Pillow
# takes it for what it is not.
_FORMS = {b"II*\0": _LITTLE, b"II\0*": _LITTLE, b"II+\0": _LARGE, b"MM\0*": _BIG, b"MM*\0": _BIG}


class _Tag(NamedTuple):
    number: int
    kind: int
    length: int
    value: bytes


class _Layout:
    """The tags that say how an image is cut into pieces.

    Raises:
        ValueError: if one is given twice, because Pillow and libtiff might go by different ones.
    """

    def __init__(self, form: _Form, tags: list[_Tag]) -> None:
        given = [tag for tag in tags if tag.number in _LAYOUT]
        self._order = form.order
        self._tags = {tag.number: tag for tag in given}
        if len(self._tags) < len(given):
            raise ValueError("a tag that says how the image is laid out is given twice")

    def length(self, number: int) -> int:
        return self._tags[number].length if number in self._tags else 0

    def value(self, number: int, default: int) -> int:
        if number not in self._tags:
            return default
        _, kind, length, value = self._tags[number]
        if kind not in _NUMBER_BYTES or length != 1:
            raise ValueError(f"tag {number} is not one SHORT or LONG")
        return int.from_bytes(value[: _NUMBER_BYTES[kind]], self._order)


def bomb_reason(content: bytes) -> str | None:
    """Return why a TIFF is not decoded here; None if it can be.

    Raises:
        KeyError, ValueError, struct.error: if its first directory is none, or can be read in more than one way.
    """
    form = _FORMS[content[:4]]
    (place,) = form.place.unpack_from(content)
    (size,) = form.size.unpack_from(content, place)
    if size > _MOST_TAGS:
        return f"the image has {size} tags; at most {_MOST_TAGS} are read"
    tags = _tags(content, place + form.size.size, size, form.tag)
    numbers = sum(tag.length for tag in tags if tag.kind not in _UNCOUNTED)
    if numbers > _MOST_NUMBERS:
        return f"the tags of the image have {numbers} numbers; at most {_MOST_NUMBERS} are read"
    return _why_cut(_Layout(form, tags))


def _tags(content: bytes, place: int, size: int, tag: Struct) -> list[_Tag]:
    there = min(size, (len(content) - place) // tag.size)
    return [_Tag(*fields) for fields in tag.iter_unpack(content[place : place + there * tag.size])]


def _why_cut(layout: _Layout) -> str | None:
    width, height, bands = layout.value(_WIDTH, 1), layout.value(_HEIGHT, 1), layout.value(_BANDS, 1)
    tile_width, tile_height = layout.value(_TILE_WIDTH, width), layout.value(_TILE_HEIGHT, height)
    if tile_width * tile_height > max(2 * width * height, _LARGEST_TILE):
        return f"the image has {width} x {height} pixels, and tiles of {tile_width} x {tile_height}"
    strips = bands * _pieces(height, layout.value(_STRIP_ROWS, height))
    tiles = bands * _pieces(width, tile_width) * _pieces(height, tile_height)
    for given, needed in ((layout.length(_STRIPS), strips), (layout.length(_TILES), tiles)):
        if given > min(needed, _MOST_PIECES):
            return f"the image has {given} strips or tiles; {needed} make it up, and at most {_MOST_PIECES} are read"
    return None


def _pieces(whole: int, piece: int) -> int:
    return -(-whole // max(piece, 1))
