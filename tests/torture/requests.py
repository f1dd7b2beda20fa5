"""What clients ask for: a few questions, each many times with other bytes of the same picture, so that each is new.

An explanation's name is a hash of its image's bytes; its map is a function of the pixels. So one undisturbed run is the
truth about every explanation of a question.
"""

import io
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from PIL import Image

from tests.conftest import SAMPLES

Ending = Literal["waited for", "cancelled", "deleted"]
Looking = Literal["polled", "held", "followed"]

_ENDINGS: tuple[Ending, ...] = ("waited for",) * 12 + ("cancelled", "deleted")
_LOOKINGS: tuple[Looking, ...] = ("polled", "polled", "held", "followed")
_JPEG_START = 2  # bytes, after which a comment may stand


@dataclass(frozen=True)
class Question:
    """What is asked of a picture.

    Attributes:
        picture: a sample's name, or `grey`, in which no detector sees anything.
        side: of the picture, in pixels.
        fields: of the request.
    """

    picture: str
    side: int
    fields: dict[str, Any] = field(hash=False)

    @property
    def image(self) -> bytes:
        """The picture as a JPEG."""
        return _jpeg(self.picture, self.side)

    def __str__(self) -> str:
        given = ", ".join(f"{name}={value}" for name, value in self.fields.items())
        return f"{self.picture} at {self.side} pixels: {given}"


@dataclass(frozen=True)
class Errand:
    """What one client does with one explanation.

    Attributes:
        number: makes its image unlike all others.
        question: which one.
        looking: how the client learns that it has ended.
        ending: whether the client lets it come to its end.
        patience_seconds: after which it is cancelled or deleted.
        asks_twice: whether the client sends the request once more, elsewhere.
    """

    number: int
    question: int
    looking: Looking
    ending: Ending
    patience_seconds: float
    asks_twice: bool

    def image(self, question: Question) -> bytes:
        """Return the picture with a comment in it that no other has."""
        content, comment = question.image, f"{self.number:08d}".encode()
        return content[:_JPEG_START] + b"\xff\xfe\x00\x0a" + comment + content[_JPEG_START:]


@cache
def _jpeg(picture: str, side: int) -> bytes:
    image = Image.new("RGB", (side, side), "grey") if picture == "grey" else Image.open(SAMPLES / f"{picture}.jpg")
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


_EVERY_KIND = (
    Question("star", 240, {"model": "shapes", "masks": 2000, "until": 1}),
    Question("several", 240, {"model": "shapes-detector", "masks": 512, "until": 1, "grid": 8}),
    Question("ring", 160, {"model": "shapes", "masks": 1500, "until": 0.9, "targets": "top:3"}),
    Question("clever-hans", 200, {"model": "clever-hans", "masks": 1024, "until": 1, "fill": "blur"}),
    Question("ring", 200, {"model": "shapes", "method": "mc-rise", "masks": 1280, "until": 1, "grid": 5}),
    Question("star", 120, {"model": "shapes", "masks": 1024, "until": 1, "estimator": "paper"}),
    Question("grey", 96, {"model": "shapes-detector", "masks": 512, "until": 1}),
    Question("star", 160, {"model": "clever-hans", "masks": 3000, "until": 1, "shrink": True, "canvas": "image"}),
)


def questions(seed: int, count: int) -> list[Question]:
    """Return so many questions: one of every kind first, then others drawn by the seed."""
    draw = random.Random(f"questions {seed}")
    more = [_drawn(draw) for _ in range(count - len(_EVERY_KIND))]
    return [*_EVERY_KIND[:count], *more]


def _drawn(draw: random.Random) -> Question:
    method = draw.choice(["rise", "rise", "drise", "mc-rise"])
    model = "shapes-detector" if method == "drise" else draw.choice(["shapes", "clever-hans"])
    estimator = draw.choice(["contrast", "contrast", "contrast", "paper"])
    masks = draw.randrange(256, 1025 if method == "drise" or estimator == "paper" else 2560)
    fields: dict[str, Any] = {"model": model, "method": method, "masks": masks, "estimator": estimator}
    fields["seed"] = draw.randrange(2**32)
    fields["grid"] = draw.choice([4, 6, 8, [5, 9]])
    fields["until"] = draw.choice([1, 1, 0.9]) if estimator == "contrast" else 1
    if method != "mc-rise":
        fields["fill"] = draw.choice(["black", "blur", "#808080"])
    return Question(draw.choice(["star", "ring", "several"]), draw.choice([96, 160, 240]), fields)


def errands(seed: int, questions_there_are: int) -> Iterator[Errand]:
    """Yield what clients do, without end."""
    draw, number = random.Random(f"errands {seed}"), 0
    while True:
        yield Errand(
            number=number,
            question=number if number < questions_there_are else draw.randrange(questions_there_are),
            looking=draw.choice(_LOOKINGS),
            ending=draw.choice(_ENDINGS),
            patience_seconds=draw.uniform(0, 3),
            asks_twice=draw.random() < 0.2,
        )
        number += 1
