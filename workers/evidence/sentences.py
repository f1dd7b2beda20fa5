"""What the figures of evidence say, in words; all thresholds are here.

Measured on four kinds of networks: `clever-hans` and `shapes`, which saw masks in training; a copy of `shapes` that did
not; and EfficientNet-Lite0 with ImageNet weights, which did not either. Medians in this order, unless said otherwise.
"""

from app.contract.schemas import Evidence, FillScore, LeastRelevantFirst

ADDS_UP = 0.7
PARTLY_ADDS_UP = 0.4
"""Fidelity: .88, .76, .39 (least -.08), .23 (least .10)."""

MANY_INTERACTIONS = 0.3
"""Interaction share: .08, .14, .31, .40."""

NOT_NEUTRAL = 0.5
"""Share of the target's score, or probability of a class, on the fill alone: noise is one class at .52 to the copy."""

MISSES = 0.5
"""Drop with the least relevant cells over that with random ones: espresso .03 of .80; an astronaut .13 of .14, bad."""

CLEAR_DROP = 0.1
"""Share of the score by which random cells must lower it before that comparison says anything."""

SAME_ANSWER = 1e-3
"""Difference of answers to one image: honest models 6e-9 at most; a model with a memory of near copies far above."""

TIMES_NOISE = 10
"""The same in differences between two identical calls, for models that are not deterministic."""


def is_consistent(consistency: float, noise: float, *, rounding: float) -> bool:
    """Return whether a model gives one image one answer.

    Args:
        consistency: largest difference between its answers.
        noise: difference between two identical calls.
        rounding: smallest relative step of its numbers: those of half precision differ by some with the batch.
    """
    return consistency <= max(SAME_ANSWER, TIMES_NOISE * noise, TIMES_NOISE * rounding)


def describe(evidence: Evidence, name: str | None, fill: str, *, score: float | None, cells: int) -> list[str]:
    """Return a sentence for each figure that is there.

    Args:
        evidence: the figures.
        name: of the target; None for a box.
        fill: what hides.
        score: of the target in the unmasked image, in units of the score.
        cells: of a mask.
    """
    sentences = []
    if evidence.fidelity is not None:
        sentences.append(_of_fidelity(evidence.fidelity))
    if evidence.interaction_share is not None:
        sentences.append(_of_interactions(evidence.interaction_share))
    if evidence.least_relevant_first is not None:
        sentences.append(_of_least_relevant(evidence.least_relevant_first, score, cells))
    if evidence.fill_score is not None:
        sentences.append(_of_fill(evidence.fill_score, name, fill))
    return sentences


def describe_consistency(consistency: float, *, is_same: bool) -> str:
    """Return the sentence about answers to one and the same image."""
    if is_same:
        return "The model gives this image the same answer alone, among masked ones and again."
    return (
        f"The model's answers to this same image differ by {consistency:.2g}: it does not only look at the image, "
        "so its scores, and this map, need not be those of other calls."
    )


def _of_fidelity(fidelity: float) -> str:
    share = f"{max(fidelity, 0):.0%} of how the score varies"
    if fidelity > ADDS_UP:
        return f"The map adds up: the sum of its regions explains {share} under masks that it had not seen."
    if fidelity >= PARTLY_ADDS_UP:
        return f"The map adds up in part: the sum of its regions explains {share} under masks that it had not seen."
    return (
        f"The map hardly adds up: the sum of its regions explains {share} under masks that it had not seen; "
        "it is an average over contexts."
    )


def _of_interactions(share: float) -> str:
    words = f"{share:.0%} of how the score varies comes from regions that act together"
    return f"{words}: much of what a region does depends on which others are visible." if _many(share) else f"{words}."


def _many(share: float) -> bool:
    return share >= MANY_INTERACTIONS


def _of_least_relevant(found: LeastRelevantFirst, score: float | None, cells: int) -> str:
    words = (
        f"Hiding the {found.cells} of {cells} cells that matter least {_change(found.drop)}, "
        f"hiding as many at random {_change(found.random)}"
    )
    if score is None or found.random < CLEAR_DROP * abs(score):
        return f"{words}: too little to tell."
    if found.drop >= MISSES * found.random:
        return f"{words}: the map misses some of what the score needs."
    return f"{words}: the map misses little of what the score needs."


def _change(drop: float) -> str:
    verb = "raises" if round(drop, 2) < 0 else "lowers"
    return f"{verb} the score by {abs(drop):.2f}"


def _of_fill(found: FillScore, name: str | None, fill: str) -> str:
    seen = "nothing" if found.top_class is None else f"{found.top_class!r} with {found.probability:.2f}"
    words = f"In the fill alone ({fill}) the model sees {seen}"
    if found.target is not None and name == found.top_class:
        words += f", {found.target:.0%} of its score in the image"
    elif found.target is not None:
        words += f"; of {'this box' if name is None else repr(name)} {found.target:.0%} of the score is left"
    if max(found.target or 0.0, found.probability or 0.0) >= NOT_NEUTRAL:
        return f"{words}: to this model the fill is no neutral background."
    return f"{words}."
