"""The tags of a project that can show an explanation, and the classes that their labels stand for."""

import re
from collections.abc import Mapping

from app.contract.schemas import StoredModel

LEVELS = (50, 80)
"""Shares of the positive saliency, in percent, that brush masks hold."""


class Label(StoredModel):
    """One label or choice of a control.

    Attributes:
        value: as results have it.
        predicted: classes of models that it stands for, from the tag's `predicted_values`; lower case.
    """

    value: str
    predicted: list[str]


class Control(StoredModel):
    """A tag that results refer to."""

    name: str
    labels: list[Label]

    def label_of(self, class_name: str, table: Mapping[str, str]) -> str | None:
        """Return the label of a model's class: from the tag, else from the operator's table, else of the same name."""
        wanted = class_name.lower()
        for label in self.labels:
            if wanted in label.predicted:
                return label.value
        return self._label_named(table.get(class_name, class_name))

    def label_of_level(self, level: int, class_name: str, table: Mapping[str, str]) -> str | None:
        """Return the label of a mask: one with the level in its name, else that of the class, else `saliency`."""
        number = re.compile(rf"(?<!\d){level}(?!\d)")
        named = (label.value for label in self.labels if number.search(" ".join([label.value, *label.predicted])))
        return next(named, None) or self.label_of(class_name, table) or self._label_named("saliency")

    def class_of(self, label: str, class_names: list[str], table: Mapping[str, str]) -> str | None:
        """Return the class of the model that a label stands for; None where there is none."""
        return next((name for name in class_names if self.label_of(name, table) == label), None)

    def _label_named(self, name: str) -> str | None:
        return next((label.value for label in self.labels if label.value.lower() == name.lower()), None)


class LabelingConfig(StoredModel):
    """The tags of a label config that can show an explanation.

    Attributes:
        image: name of the tag that shows the image.
        field: of the task's data that holds the image's address.
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
