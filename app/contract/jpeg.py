"""JPEG files by their markers (ITU-T T.81, annex B): what can be said of one without decoding its pixels.

Decoding a photograph to see whether it can be decoded costs ten times as much as all else that is done to accept it.
What a decoder refuses, though, stands in the segments before the pixels, or is a missing end: what is damaged among the
pixels themselves it draws as well as it can.
"""

import re

_END_OF_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7]")  # stuffed bytes and restarts are within a scan
_START, _SCAN, _END = b"\xff\xd8", 0xDA, b"\xff\xd9"
_ALONE = frozenset({0x01, *range(0xD0, 0xDA)})  # markers without a segment; none belongs before the first scan


def without_pixels(content: bytes) -> bytes | None:
    """Return a file that a decoder refuses where it refuses the given one, and draws in a fraction of the time.

    Returns:
        None where that cannot be said: where something is missing or unusual, or there is more than one scan.
    """
    place = len(_START) if content.startswith(_START) else len(content)
    while place + 4 <= len(content):
        start, kind = content[place : place + 2]
        if start != _START[0] or kind in _ALONE or kind == _START[0]:
            return None
        place += 2 + int.from_bytes(content[place + 2 : place + 4])
        if kind == _SCAN:
            found = _END_OF_SCAN.search(content, place)
            return content[:place] + _END if found is not None and found[0] == _END else None
    return None
