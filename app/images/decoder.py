"""`python -m app.images.decoder MAX_PIXELS CPU_SECONDS` decodes untrusted images, one after the other, under limits.

It imports Pillow and nothing of the front end. A request on stdin is the number of bytes of an image (8 bytes, big
endian) and the image; the reply on stdout is a line of JSON. An image that exceeds a limit ends the process instead,
which the front end sees as the end of its output (`decoder_pool.py`).
"""

import json
import resource
import sys
from typing import BinaryIO

from PIL import Image

from app.contract.errors import RiseError
from app.contract.images.decoding import open_image, orientation_swaps_sides, scaling, upright_rgb

_BASE_BYTES = 300_000_000  # of address space; interpreter and Pillow take 28 MB, and the encoded image its bytes
_BYTES_PER_PIXEL = 20  # RGBA takes most: 17, with its copies on the way to RGB


def main(requests: BinaryIO, replies: BinaryIO, *, max_pixels: int, cpu_seconds: int) -> None:
    """Reply to requests until there are no more."""
    Image.MAX_IMAGE_PIXELS = None  # because `max_pixels` is the limit
    max_bytes = _BASE_BYTES + _BYTES_PER_PIXEL * max_pixels
    resource.setrlimit(resource.RLIMIT_AS, (max_bytes, max_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while header := requests.read(8):
        _limit_cpu_time(cpu_seconds)
        reply = probe(requests.read(int.from_bytes(header)), max_pixels=max_pixels)
        replies.write(json.dumps(reply).encode() + b"\n")
        replies.flush()


def _limit_cpu_time(seconds: int) -> None:
    """Let the kernel kill this process when it has used so many seconds more than now."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    until = int(usage.ru_utime + usage.ru_stime) + seconds + 1
    resource.setrlimit(resource.RLIMIT_CPU, (until, resource.RLIM_INFINITY))


def probe(content: bytes, *, max_pixels: int) -> dict[str, str | int | None] | None:
    """Decode an image and return its `format`, `width` and `height` when it is upright, and how it is `scaled`.

    An image with more than `max_pixels` is opened, but not decoded.

    Returns:
        None if it cannot be decoded; a reason alone if it is `refused`.
    """
    try:
        image = open_image(content)
        width, height = image.size
        scaled = None
        if width * height <= max_pixels:
            _decode(image)
            scaled = scaling(image)
            if orientation_swaps_sides(image):
                width, height = height, width
    except MemoryError:
        sys.exit(1)
    except RiseError as cause:
        return {"refused": cause.detail}
    except Exception:  # because decoders raise whatever they like on broken input
        return None
    return {"format": image.format or "", "width": width, "height": height, "scaled": scaled}


def _decode(image: Image.Image) -> None:
    """Decode as workers do; a JPEG at an eighth of its size, which reads every coefficient at a quarter of the cost."""
    if image.format == "JPEG":
        image.draft(image.mode, (1, 1))
        image.load()
    else:
        upright_rgb(image)


if __name__ == "__main__":
    main(sys.stdin.buffer, sys.stdout.buffer, max_pixels=int(sys.argv[1]), cpu_seconds=int(sys.argv[2]))
