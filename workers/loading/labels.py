"""The names of a model's classes: from its entry, else from its source, else their numbers."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workers.model_io.model_entry import ModelEntry


def labels_of(
    entry: ModelEntry, *, folder: Path, found: Sequence[str] | None = None, count: int | None = None
) -> tuple[str, ...]:
    """Return a name for each class.

    Args:
        entry: the model's entry.
        folder: of the models file.
        found: names that the source carries.
        count: classes that the model has; None where that is not known.

    Raises:
        ValueError: if their number is wrong, two are the same, or there is no way to know them.
    """
    labels = names_of(entry, folder=folder) or (list(found) if found is not None else None)
    if labels is None:
        if count is None:
            raise ValueError("labels: neither the models file nor the source names the classes")
        labels = [str(index) for index in range(count)]
    if count is not None and len(labels) != count:
        raise ValueError(f"labels: {len(labels)} names for the model's {count} classes")
    return tuple(_distinct(labels))


def names_of(entry: ModelEntry, *, folder: Path) -> list[str] | None:
    """Return the names that an entry gives, or the file that it names; None where it gives none.

    Raises:
        ValueError: if the file cannot be read, or names no classes.
    """
    labels = entry.labels
    if not isinstance(labels, str):
        return labels
    path = folder / labels
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as cause:
        raise ValueError(f"labels: {path}: {cause}") from cause
    if path.suffix == ".json":
        return _from_json(text, path)
    return [line.strip() for line in text.splitlines() if line.strip()]


def _from_json(text: str, path: Path) -> list[str]:
    try:
        return class_names(json.loads(text))
    except ValueError as cause:
        raise ValueError(f"labels: {path}: {cause}") from cause


def class_names(value: Any) -> list[str]:
    """Return names of classes from what tools write: a list, or a dictionary from each index, or to it.

    A name may stand behind another word for the class, as in `{"0": ["n01440764", "tench"]}`. A dictionary may stand
    under `id2label`, as in a `config.json`.

    Raises:
        ValueError: for anything else, and where an index is missing.
    """
    if isinstance(value, dict):
        value = _by_index(value)
    if not isinstance(value, list):
        raise ValueError("this is no list of names, nor a dictionary of them by index")
    names = [name[-1] if isinstance(name, list) and name else name for name in value]
    if not all(isinstance(name, str) for name in names):
        raise ValueError("not every entry is a name, or a list that ends with one")
    return [name.strip() for name in names]


def _by_index(value: dict[Any, Any]) -> list[Any]:
    for key in ("id2label", "names"):
        if isinstance(value.get(key), dict | list):
            inner = value[key]
            return inner if isinstance(inner, list) else _by_index(inner)
    if value and all(isinstance(index, int) for index in value.values()):
        value = {index: name for name, index in value.items()}
    try:
        by_index = {int(index): name for index, name in value.items()}
    except (TypeError, ValueError) as cause:
        raise ValueError("its keys are no indices of classes") from cause
    if set(by_index) != set(range(len(by_index))):
        missing = next(index for index in range(len(by_index) + 1) if index not in by_index)
        raise ValueError(f"it has no name for class {missing}")
    return [by_index[index] for index in range(len(by_index))]


def _distinct(labels: Sequence[str]) -> list[str]:
    """Return the labels with their index behind those that stand there twice (ImageNet has two cranes)."""
    times = Counter(labels)
    return [f"{label} ({index})" if times[label] > 1 else label for index, label in enumerate(labels)]
