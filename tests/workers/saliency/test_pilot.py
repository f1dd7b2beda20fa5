"""The sequential test on a pilot sample: what it says, and that it does not depend on batches."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from workers.explainer.pilot import Verdict, verdict

MASKS, WANTED = 64, 0.2


def outcome(matches: Tensor) -> Verdict | None:
    return verdict(matches, wanted=WANTED, masks=MASKS)


def first_outcome(matches: Tensor, batch: int) -> tuple[int, Verdict]:
    """Return after how many masks, asked in batches, the test ends, and how."""
    for seen in range(batch, MASKS + batch, batch):
        found = outcome(matches[:seen])
        if found is not None:
            return min(seen, MASKS), found
    raise AssertionError("it is open after all masks")


@given(st.floats(0, 1), st.integers(1, 4), st.integers(0, 10_000), st.integers(1, MASKS))
def test_the_outcome_is_the_same_in_any_batches(chance: float, targets: int, seed: int, batch: int) -> None:
    matches = torch.from_numpy(np.random.default_rng(seed).random((MASKS, targets)) < chance)
    assert first_outcome(matches, batch)[1] == first_outcome(matches, 1)[1]


@given(st.lists(st.booleans(), min_size=MASKS, max_size=MASKS))
def test_what_has_enough_matches_has_them_and_what_has_not_had_too_few(matched: list[bool]) -> None:
    seen, found = first_outcome(torch.tensor(matched)[:, None], 1)
    count, enough = sum(matched[:seen]), math.ceil(WANTED * MASKS)
    assert found.share == count / seen
    if found.enough:
        assert count == enough
    else:
        improbable = sum(math.comb(seen, few) * 0.2**few * 0.8 ** (seen - few) for few in range(count + 1)) < 0.01
        assert improbable or count + MASKS - seen < enough


@pytest.mark.parametrize(("chance", "enough"), [(0.4, 0.98), (0.1, 0.05)])
def test_a_share_that_is_clear_is_found(chance: float, enough: float) -> None:
    random = np.random.default_rng(0)
    found = np.mean(
        [first_outcome(torch.from_numpy(random.random((MASKS, 1)) < chance), 1)[1].enough for _ in range(400)]
    )
    assert found >= enough if chance > WANTED else found <= enough


def test_the_target_with_least_decides() -> None:
    matches = torch.ones(MASKS, 2, dtype=torch.bool)
    matches[:, 1] = False
    assert first_outcome(matches, 1) == (21, Verdict(enough=False, share=0.0))  # 0.8^21 is below 1 %
    assert first_outcome(matches[:, :1], 1) == (13, Verdict(enough=True, share=1.0))
