"""The names of a model's classes: from its entry, else from its source, else their numbers."""

import json
from collections.abc import Sequence
from pathlib import Path

from workers.model_io.entry import ModelEntry


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
    labels = _given(entry.labels, folder) or (list(found) if found is not None else None)
    if labels is None:
        if count is None:
            raise ValueError("labels: neither the models file nor the source names the classes")
        labels = [str(index) for index in range(count)]
    if count is not None and len(labels) != count:
        raise ValueError(f"labels: {len(labels)} names for the model's {count} classes")
    return tuple(_distinct(labels))


def _given(labels: list[str] | str | None, folder: Path) -> list[str] | None:
    if not isinstance(labels, str):
        return labels
    path = folder / labels
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as cause:
        raise ValueError(f"labels: {path}: {cause}") from cause
    if path.suffix == ".json":
        return _from_json(text, path)
    return [line.strip() for line in text.splitlines() if line.strip()]


def _from_json(text: str, path: Path) -> list[str]:
    try:
        names = json.loads(text)
    except ValueError as cause:
        raise ValueError(f"labels: {path}: {cause}") from cause
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"labels: {path} is not a JSON list of names")
    return names


def _distinct(labels: list[str]) -> list[str]:
    """Return the labels with their index behind those that stand there twice (ImageNet has two cranes)."""
    return [f"{label} ({index})" if labels.count(label) > 1 else label for index, label in enumerate(labels)]
