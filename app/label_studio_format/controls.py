"""The tags of a project that say an explanation, and which of their labels mean what."""

import re
from collections.abc import Mapping

from app.contract.schemas import StoredModel

LEVELS = (50, 80)
"""Shares of the positive saliency, in percent, that brush masks hold."""


class Label(StoredModel):
    """One label or choice of a control.

    Attributes:
        value: as it stands in results.
        predicted: classes of models that mean it, from the tag's `predicted_values`; lower case.
    """

    value: str
    predicted: list[str]


class Control(StoredModel):
    """A tag that results come from."""

    name: str
    labels: list[Label]

    def label_of(self, class_name: str, table: Mapping[str, str]) -> str | None:
        """Return the label for a class of the model: as the tag says, else the operator's table, else the same name."""
        wanted = class_name.lower()
        for label in self.labels:
            if wanted in label.predicted:
                return label.value
        return self._called(table.get(class_name, class_name))

    def label_of_level(self, level: int, class_name: str, table: Mapping[str, str]) -> str | None:
        """Return the label of a mask: one with the level in its name, else that of the class, else `saliency`."""
        number = re.compile(rf"(?<!\d){level}(?!\d)")
        named = (label.value for label in self.labels if number.search(" ".join([label.value, *label.predicted])))
        return next(named, None) or self.label_of(class_name, table) or self._called("saliency")

    def class_of(self, label: str, class_names: list[str], table: Mapping[str, str]) -> str | None:
        """Return the class of the model that a label means; None where it means none."""
        return next((name for name in class_names if self.label_of(name, table) == label), None)

    def _called(self, name: str) -> str | None:
        return next((label.value for label in self.labels if label.value.lower() == name.lower()), None)


class LabelingConfig(StoredModel):
    """The tags of a label config that an explanation has something for.

    Attributes:
        image: name of the tag that shows the image.
        field: of the task's data, in which the image's address stands.
        choices: takes the class.
        rectangles: takes the boxes of detections.
        brushes: takes masks.
        overlay: field of the task's data that a second image tag, called `overlay` or `saliency`, shows.
    """

    image: str
    field: str
    choices: Control | None = None
    rectangles: Control | None = None
    brushes: Control | None = None
    overlay: str | None = None
