"""JPEG files by their markers (ITU-T T.81, annex B): what can be said of one without decoding its pixels.

Decoding a photograph to see whether it can be decoded costs ten times as much as all else that is done to accept it.
What a decoder refuses, though, stands in the segments before the pixels, or is a missing end: what is damaged among the
pixels themselves it draws as well as it can.
"""

from typing import NamedTuple

import numpy as np

_START, _SCAN, _END = b"\xff\xd8", 0xDA, b"\xff\xd9"
_MOST_SCANS = 64  # encoders write a dozen at most
_MOST_SEGMENTS = 100  # before the pixels; cameras write some twenty
_LONGEST_HEAD = 262_144  # bytes of them: Pillow goes through EXIF in Python, two tenths of a second for a megabyte
_STUFFED, _RESTARTS = 0x00, range(0xD0, 0xD8)  # what may stand behind 0xFF within a scan
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # those three are no frames
_ALONE = frozenset({0x01, *range(0xD0, 0xDA)})  # markers without a segment; none belongs before the first scan
_SIZE = slice(5, 9)  # in a frame: height and width, after marker, length and precision
_LONGEST_SIDE = 65_500  # of libjpeg
_ONE_PIXEL = b"\x00\x01\x00\x01"


class HeaderOnlyJpeg(NamedTuple):
    """A file that a decoder refuses where it refuses another one, and draws in next to no time.

    Attributes:
        content: of one pixel, with everything of the other file that stands before its pixels.
        width: of the other, in pixels.
        height: of the other.
    """

    content: bytes
    width: int
    height: int


def strip_scan_data(content: bytes) -> HeaderOnlyJpeg | None:
    """Return a file without its pixels.

    Returns:
        None where nothing can be said at once: where something is missing or unusual, there is much before the pixels,
        or more than one scan.
    """
    place, frames = len(_START) if content.startswith(_START) else len(content), []
    for _ in range(_MOST_SEGMENTS):
        if place + 4 > min(len(content), _LONGEST_HEAD):
            return None
        start, kind = content[place : place + 2]
        if start != _START[0] or kind in _ALONE or kind == _START[0]:
            return None
        if kind in _FRAMES:
            frames.append(place)
        place += 2 + int.from_bytes(content[place + 2 : place + 4])
        if kind == _SCAN:
            return _hollow(content[:place], frames) if _ends(content, place) else None
    return None


def has_too_many_scans(content: bytes) -> bool:
    """Return whether to decode a file would take out of all proportion to its size.

    A scan that says nothing has a few bytes, and a decoder goes through the whole image for it: a hundred kilobytes of
    them took it fourteen seconds.
    """
    return content.count(bytes([_START[0], _SCAN])) > _MOST_SCANS


def _ends(content: bytes, place: int) -> bool:
    """Return whether the scan that begins at a place is the last one of a file, and is whole."""
    scan = np.frombuffer(content, np.uint8)[place:]
    behind = scan[np.flatnonzero(scan[:-1] == _START[0]) + 1]
    markers = behind[(behind != _STUFFED) & ((behind < _RESTARTS.start) | (behind >= _RESTARTS.stop))]
    return bool(markers.size) and bool(markers[0] == _END[1])


def _hollow(head: bytes, frames: list[int]) -> HeaderOnlyJpeg | None:
    if len(frames) != 1:
        return None
    frame = head[frames[0] :]
    height, width = int.from_bytes(frame[_SIZE][:2]), int.from_bytes(frame[_SIZE][2:])
    if not 0 < min(width, height) <= max(width, height) <= _LONGEST_SIDE:
        return None
    small = frame[: _SIZE.start] + _ONE_PIXEL + frame[_SIZE.stop :]
    return HeaderOnlyJpeg(head[: frames[0]] + small + _END, width, height)
