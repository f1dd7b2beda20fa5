"""Child processes that decode images for the front end: a hostile image ends a child, not the front end."""

import json
import os
import subprocess
import sys
from queue import LifoQueue
from threading import Timer
from typing import NamedTuple

from app.contract.errors import RiseError

_ELAPSED_SECONDS = 30.0  # for one image; its CPU time is limited by the child itself
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH")  # and no secrets


class ProbedImage(NamedTuple):
    """What a child has found.

    Attributes:
        format: Pillow's name of it.
        width: of the upright image, in pixels.
        height: the same.
        scaled: how grey values became 8 bits; None if they have 8 bits.
    """

    format: str
    width: int
    height: int
    scaled: str | None


class DecoderDiedError(Exception):
    """A child was killed while it decoded an image."""


class DecoderPool:
    """Decodes images in child processes, which are started when they are needed and replaced when they die.

    Every child has a pipe of its own, no file or socket of its parent, and ends when its parent does.

    Args:
        size: how many images are decoded at once; further calls wait.
        max_pixels: images with more are opened, but not decoded.
        cpu_seconds: for one image; the largest that are allowed take about two, as PNG or as progressive JPEG.
    """

    def __init__(self, size: int, *, max_pixels: int, cpu_seconds: int = 5) -> None:
        self._command = [sys.executable, "-P", "-m", "app.images.decoder", str(max_pixels), str(cpu_seconds)]
        self._environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        self._environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        self._idle = LifoQueue[subprocess.Popen[bytes] | None]()
        self._size = size
        for _ in range(size):
            self._idle.put(None)

    def probe(self, content: bytes) -> ProbedImage | None:
        """Decode an image, and return what it is; None if it cannot be decoded.

        Raises:
            DecoderDiedError: if the image takes too much time or memory.
            RiseError: `unreadable-image`, if its values are none that can be shown.
        """
        child = self._idle.get()
        try:
            if child is None or child.poll() is not None:
                child = self._start()
            return _exchange(child, content)
        finally:
            self._idle.put(child)

    def close(self) -> None:
        """End all children."""
        for _ in range(self._size):
            child = self._idle.get()
            if child is not None:
                child.kill()
                child.communicate()
            self._idle.put(None)

    def _start(self) -> subprocess.Popen[bytes]:
        # A session of its own, because Ctrl-C in a terminal is for the front end, which ends its children itself.
        return subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )


def _exchange(child: subprocess.Popen[bytes], content: bytes) -> ProbedImage | None:
    assert child.stdin is not None
    assert child.stdout is not None
    timer = Timer(_ELAPSED_SECONDS, child.kill)
    timer.start()
    try:
        child.stdin.write(len(content).to_bytes(8) + content)
        child.stdin.flush()
        reply = json.loads(child.stdout.readline())
    except (OSError, ValueError) as cause:
        child.kill()
        child.wait()
        raise DecoderDiedError from cause
    finally:
        timer.cancel()
    if reply is None:
        return None
    if "refused" in reply:
        raise RiseError("unreadable-image", reply["refused"])
    return ProbedImage(**reply)
