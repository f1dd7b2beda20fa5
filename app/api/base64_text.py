"""Base64 decoded in chunks, because the decoder holds the interpreter lock."""

import base64

_CHUNK = 1_000_000  # a multiple of four characters


def decode_base64(text: str) -> bytes:
    """Return the bytes that a text encodes.

    Raises:
        ValueError: if it is not base64, line breaks included.
    """
    if "=" in text[:-2]:
        raise ValueError("padding in the middle")
    chunks = range(0, len(text), _CHUNK)
    return b"".join(base64.b64decode(text[place : place + _CHUNK], validate=True) for place in chunks)
