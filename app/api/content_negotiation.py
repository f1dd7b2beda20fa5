"""Content negotiation of maps: by the ending of the path, or by `Accept` (RFC 9110 section 12.5.1)."""

import re
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple
from urllib.request import parse_http_list

from python_multipart.multipart import parse_options_header

from app.contract.errors import RiseError
from app.rendering.formats import formats

_DEFAULT = "npy"  # for a client without a preference
_DEFAULT_IMAGE = "png"  # for one that takes any image
_NUMBER = re.compile(r"\d+\.?\d*|\.\d+")


class MediaRange(NamedTuple):
    """A media range of `Accept`, or, without wildcards, the media type of a format.

    Attributes:
        name: `image/png`, `image/*` or `*/*`, in lower case.
        parameters: name and value of each, except `q`.
        quality: 0..1; 0 is not acceptable.
    """

    name: str
    parameters: frozenset[tuple[str, str]]
    quality: float

    def includes(self, offer: "MediaRange") -> bool:
        """Return whether a media type is in this range."""
        kind = offer.name.partition("/")[0]
        return self.name in {offer.name, f"{kind}/*", "*/*"} and self.parameters <= offer.parameters

    @property
    def precision(self) -> tuple[int, int]:
        """Larger for a more specific range, which takes precedence."""
        return -self.name.count("*"), len(self.parameters)


def split_name(name: str) -> tuple[str, str | None]:
    """Split `0.overlay.png` into a target and a known ending, None where there is none."""
    for ending in sorted(formats(), key=len, reverse=True):
        if name.endswith(f".{ending}"):
            return name.removesuffix(f".{ending}"), ending
    return name, None


def best_match(accept: str | None) -> str:
    """Return the ending of the format with the highest quality; of several, that of the first range.

    Raises:
        RiseError: `not-acceptable`.
    """
    ranges = [_parse_range(part) for part in parse_http_list(accept or "*/*") if part]
    qualities = {ending: _quality(offer, ranges) for ending, offer in _producible().items()}
    ending = max(qualities, key=qualities.__getitem__)
    if qualities[ending][0] == 0:
        raise RiseError("not-acceptable", f"a map comes as {', '.join(media_types())}")
    return ending


def prefers_html(accept: str | None) -> bool:
    """Return whether a client would rather have HTML than JSON: browsers say so, programs do not."""
    ranges = [_parse_range(part) for part in parse_http_list(accept or "*/*") if part]
    html, json = (_quality(MediaRange(name, frozenset(), 1), ranges) for name in ("text/html", "application/json"))
    return html > json


def _quality(offer: MediaRange, ranges: Sequence[MediaRange]) -> tuple[float, int]:
    """Return the quality of a media type, 0 if not acceptable, and minus the position of its range."""
    matching = [
        (range_.precision, range_.quality, -place) for place, range_ in enumerate(ranges) if range_.includes(offer)
    ]
    _, quality, position = max(matching, default=((0, 0), 0.0, 0))
    return quality, position


@cache  # because folders do not change while a process lives
def _producible() -> dict[str, MediaRange]:
    """Return the media type of each format by its ending, those that win a tie first."""
    offers = {ending: _parse_media_type(module.MEDIA_TYPE) for ending, module in formats().items()}

    def precedence(ending: str) -> tuple[int, bool, bool, bool]:
        offer = offers[ending]
        return len(offer.parameters), ending != _DEFAULT, offer.name.startswith("image/"), ending != _DEFAULT_IMAGE

    return {ending: offers[ending] for ending in sorted(offers, key=precedence)}


def _parse_range(text: str) -> MediaRange:
    """Return a range without parameters that no format has, such as a charset."""
    read = _parse_media_type(text)
    known = {name for offer in _producible().values() for name, _ in offer.parameters}
    return read._replace(parameters=frozenset(pair for pair in read.parameters if pair[0] in known))


def _parse_media_type(text: str) -> MediaRange:
    name, options = parse_options_header(text)
    parameters = {name.decode("latin-1"): value.decode("latin-1") for name, value in options.items()}
    quality = parameters.pop("q", "1")
    number = min(1.0, float(quality)) if _NUMBER.fullmatch(quality) else 1.0
    return MediaRange(name.decode("latin-1"), frozenset(parameters.items()), number)


def media_types() -> list[str]:
    """Return the media types of all formats, sorted."""
    return sorted({module.MEDIA_TYPE.partition(";")[0] for module in formats().values()})
