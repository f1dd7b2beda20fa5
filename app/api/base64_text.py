"""Base64 as clients write it, decoded in chunks, because the decoder holds the interpreter lock."""

import base64
import re

_CHUNK = 1_000_000  # a multiple of four characters
_DATA_URL = re.compile(r"\s*data:[^,]{0,200};base64,", re.IGNORECASE)
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_WHITE_SPACE = b" \t\r\n\f\v"


def decode_base64(text: str) -> bytes:
    """Return the bytes that a text encodes: a data URL too, with white space, URL-safe (RFC 4648), or unpadded.

    Raises:
        ValueError: if it is not base64.
    """
    prefix = _DATA_URL.match(text)
    encoded = text[prefix.end() if prefix else 0 :].encode("ascii")
    chunks = range(0, len(encoded), _CHUNK)
    encoded = b"".join(encoded[place : place + _CHUNK].translate(_URL_SAFE, _WHITE_SPACE) for place in chunks)
    unpadded = encoded.removesuffix(b"=").removesuffix(b"=")
    if b"=" in unpadded:
        raise ValueError("padding in the middle")
    padded = unpadded + b"=" * (-len(unpadded) % 4)
    return b"".join(
        base64.b64decode(padded[place : place + _CHUNK], validate=True) for place in range(0, len(padded), _CHUNK)
    )
