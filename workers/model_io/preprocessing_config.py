"""A model's preprocessing: as its source declares it, overruled by its entry."""

from dataclasses import replace

from workers.blackbox import Preprocessing
from workers.model_io.model_entry import ModelEntry, PreprocessingEntry


def preprocessing_of(entry: ModelEntry, found: Preprocessing | None = None) -> Preprocessing:
    """Return the preprocessing of a model.

    Args:
        entry: the model's entry.
        found: that of the source; None where it has none.

    Raises:
        ValueError: if neither says the size, or what they say does not fit together.
    """
    declared = entry.preprocessing
    if found is None and declared.size is None and declared.resize != "scale":
        raise ValueError("preprocessing.size: the source does not say it; give the side, or [height, width], in pixels")
    named = declared.model_dump(exclude={"size", "mean", "std"}, exclude_none=True)
    if declared.mean is not None:
        named["mean"] = tuple(declared.mean)
    if declared.std is not None:
        named["std"] = tuple(declared.std)
    if declared.shortest_side is not None and declared.stretched_to is None:
        named["stretched_to"] = None  # because both say how large a picture is before its centre is cut
    merged = replace(found or Preprocessing(size=None), **named)
    if declared.size is not None:
        merged = replace(merged, size=_pair(declared))
    elif declared.resize == "scale":
        merged = replace(merged, size=None)
    _check(merged)
    return merged


def _pair(declared: PreprocessingEntry) -> tuple[int, int]:
    assert declared.size is not None
    return (declared.size, declared.size) if isinstance(declared.size, int) else declared.size


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
