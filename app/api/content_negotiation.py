"""Which format of a map a client wants: by the ending of the address, or by `Accept` (RFC 9110 section 12.5.1)."""

import re
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple
from urllib.request import parse_http_list

from python_multipart.multipart import parse_options_header

from app.contract.errors import RiseError
from app.rendering.formats import formats

_USUAL = "npy"  # for a client to whom everything is equally welcome
_NUMBER = re.compile(r"\d+\.?\d*|\.\d+")


class MediaRange(NamedTuple):
    """What a client accepts, or, without wildcards, what a format is.

    Attributes:
        name: `image/png`, `image/*` or `*/*`, in lower case.
        parameters: name and value of each, but for `q`.
        quality: how welcome it is, 0..1; 0 is not at all.
    """

    name: str
    parameters: frozenset[tuple[str, str]]
    quality: float

    def includes(self, offer: "MediaRange") -> bool:
        """Return whether an offer is of this range."""
        kind = offer.name.partition("/")[0]
        return self.name in {offer.name, f"{kind}/*", "*/*"} and self.parameters <= offer.parameters

    @property
    def precision(self) -> tuple[int, int]:
        """Larger for a range that takes precedence over another which includes the same offer."""
        return -self.name.count("*"), len(self.parameters)


def split_name(name: str) -> tuple[str, str | None]:
    """Split `0.overlay.png` into what is shown and a known ending, None where there is none."""
    for ending in sorted(formats(), key=len, reverse=True):
        if name.endswith(f".{ending}"):
            return name.removesuffix(f".{ending}"), ending
    return name, None


def best_match(accept: str | None) -> str:
    """Return the ending of the format that a client likes best; of several, that of the range it named first.

    Raises:
        RiseError: `not-acceptable`.
    """
    ranges = [_asked(part) for part in parse_http_list(accept or "*/*") if part]
    wishes = {ending: _wish(offer, ranges) for ending, offer in _offers().items()}
    ending = max(wishes, key=wishes.__getitem__)
    if wishes[ending][0] == 0:
        raise RiseError("not-acceptable", f"a map comes as {', '.join(media_types())}")
    return ending


def _wish(offer: MediaRange, ranges: Sequence[MediaRange]) -> tuple[float, int]:
    """Return how welcome an offer is, 0 for not at all, and how early it was named, larger for earlier."""
    named = [
        (range_.precision, range_.quality, -place) for place, range_ in enumerate(ranges) if range_.includes(offer)
    ]
    _, quality, earliness = max(named, default=((0, 0), 0.0, 0))
    return quality, earliness


@cache  # because folders do not change while a process lives
def _offers() -> dict[str, MediaRange]:
    """Return what each format is by its ending; where a client makes no difference, the first is what it gets."""
    offers = {ending: _read(module.MEDIA_TYPE) for ending, module in formats().items()}
    return dict(sorted(offers.items(), key=lambda offer: (len(offer[1].parameters), offer[0] != _USUAL)))


def _asked(text: str) -> MediaRange:
    """Return a range; parameters that no format has, such as a charset, make no difference between formats."""
    read = _read(text)
    known = {name for offer in _offers().values() for name, _ in offer.parameters}
    return read._replace(parameters=frozenset(pair for pair in read.parameters if pair[0] in known))


def _read(text: str) -> MediaRange:
    name, options = parse_options_header(text)
    parameters = {name.decode("latin-1"): value.decode("latin-1") for name, value in options.items()}
    quality = parameters.pop("q", "1")
    number = min(1.0, float(quality)) if _NUMBER.fullmatch(quality) else 1.0
    return MediaRange(name.decode("latin-1"), frozenset(parameters.items()), number)


def media_types() -> list[str]:
    """Return the media types of all formats, sorted."""
    return sorted({module.MEDIA_TYPE.partition(";")[0] for module in formats().values()})
