"""Base64 in pieces: a decoder keeps the interpreter, and for twenty megabytes of it all others would wait."""

import base64

_PIECE = 1_000_000  # a multiple of four characters


def decoded(text: str) -> bytes:
    """Return what a text stands for.

    Raises:
        ValueError: if it is not base64, line breaks included.
    """
    if "=" in text[:-2]:
        raise ValueError("padding in the middle")
    pieces = range(0, len(text), _PIECE)
    return b"".join(base64.b64decode(text[place : place + _PIECE], validate=True) for place in pieces)
