"""A model's preprocessing: what its source says, overruled by its entry."""

from dataclasses import replace

from workers.blackbox import Preprocessing
from workers.model_io.entry import ModelEntry, PreprocessingEntry


def preprocessing_of(entry: ModelEntry, found: Preprocessing | None = None) -> Preprocessing:
    """Return how pictures become the model's input.

    Args:
        entry: the model's entry.
        found: what the source carries; None where it carries nothing.

    Raises:
        ValueError: if neither says the size, or what they say does not fit together.
    """
    said = entry.preprocessing
    if found is None and said.size is None and said.resize != "scale":
        raise ValueError("preprocessing.size: the source does not say it; give the side, or [height, width], in pixels")
    named = said.model_dump(exclude={"size", "mean", "std"}, exclude_none=True)
    if said.mean is not None:
        named["mean"] = tuple(said.mean)
    if said.std is not None:
        named["std"] = tuple(said.std)
    if said.shortest_side is not None and said.stretched_to is None:
        named["stretched_to"] = None  # because both say how large a picture is before its centre is cut
    merged = replace(found or Preprocessing(size=None), **named)
    if said.size is not None:
        merged = replace(merged, size=_pair(said))
    elif said.resize == "scale":
        merged = replace(merged, size=None)
    _check(merged)
    return merged


def _pair(said: PreprocessingEntry) -> tuple[int, int]:
    assert said.size is not None
    return (said.size, said.size) if isinstance(said.size, int) else said.size


def _check(preprocessing: Preprocessing) -> None:
    size, stretched_to = preprocessing.size, preprocessing.stretched_to
    if size and stretched_to and (stretched_to[0] < size[0] or stretched_to[1] < size[1]):
        raise ValueError(
            f"preprocessing.stretched_to: {stretched_to} is smaller than the size {size}, which is cut from it"
        )
    if preprocessing.resize == "scale" and preprocessing.shortest_side is None:
        raise ValueError('preprocessing.shortest_side: resize = "scale" needs it')
    if preprocessing.resize == "scale" and preprocessing.size is not None:
        raise ValueError('preprocessing.size: resize = "scale" has none; it follows from the picture')
    allowed = {1} if preprocessing.channels == "grey" else {1, 3}
    for name in ("mean", "std"):
        count = len(getattr(preprocessing, name))
        if count not in allowed:
            raise ValueError(f"preprocessing.{name}: {count} numbers for {preprocessing.channels} pictures")
