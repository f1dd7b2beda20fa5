"""Does enough of every target stay visible? A sequential test on the first masked images.

It ends as soon as every target has as many matches as are wanted of the whole sample, or as some target has so few that
this cannot come any more or would be improbable: a truncated sequential test (Wald, Annals of Mathematical Statistics
16, 1945). The outcome depends on the order of masks alone and not on the batches in which they were asked.
"""

import math
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

import torch
from torch import Tensor

_IMPROBABLE = 0.01  # chance of so few matches where their share is as large as is wanted


@dataclass(frozen=True)
class Verdict:
    """What the sample says.

    Attributes:
        enough: whether every target matches often enough.
        share: of masks with a match, up to where that was decided, of the target that has least.
    """

    enough: bool
    share: float


def verdict(matches: Tensor, *, wanted: float, masks: int) -> Verdict | None:
    """Return what a sample says so far; None while it is open.

    Args:
        matches: whether each target matches in each masked image, `[N, R]`.
        wanted: share of masked images with a match.
        masks: of the whole sample, at least N.
    """
    fewest = matches.cpu().cumsum(0).amin(1)  # [N]
    enough = math.ceil(wanted * masks)
    hopeless = torch.tensor([_most_hopeless(seen, wanted, enough, masks) for seen in range(1, len(matches) + 1)])
    decided = ((fewest >= enough) | (fewest <= hopeless)).nonzero()
    if len(decided) == 0:
        return None
    first = int(decided[0, 0])
    found = int(fewest[first])
    return Verdict(found >= enough, found / (first + 1))


@cache
def _most_hopeless(seen: int, wanted: float, enough: int, masks: int) -> int:
    """Return the most matches among the first masks that leave no hope; -1 where there is no such number."""
    chances = [math.comb(seen, few) * wanted**few * (1 - wanted) ** (seen - few) for few in range(seen + 1)]
    improbable = sum(chance < _IMPROBABLE for chance in accumulate(chances)) - 1
    return max(improbable, enough - (masks - seen) - 1)
