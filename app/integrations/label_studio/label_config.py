"""What a project's label config has for an explanation: an image, controls to say it with, a place for the overlay.

A config is XML that annotators' managers write, so it is read with defusedxml (no DTD, no entities, nothing external)
and bounded in size, depth and number of tags.
"""

import io
import re
from collections.abc import Iterator, Mapping
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import iterparse

from app.contract.errors import FieldError, RiseError
from app.contract.schemas import Value

LEVELS = (50, 80)
"""Shares of the positive saliency, in percent, that brush masks hold."""

_MAX_CHARACTERS = 1_000_000
_MAX_DEPTH = 100
_MAX_TAGS = 20_000
_CONTROLS = {"choices": "Choices", "rectangles": "RectangleLabels", "brushes": "BrushLabels"}
_FIELD_OF_TASK = re.compile(r"\$([A-Za-z0-9_.-]+)")
_OVERLAYS = {"overlay", "saliency"}


class Label(Value):
    """One label or choice of a control.

    Attributes:
        value: as it stands in results.
        predicted: classes of models that mean it, from the tag's `predicted_values`; lower case.
    """

    value: str
    predicted: list[str]


class Control(Value):
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


class Layout(Value):
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


def read_layout(label_config: str, *, field: str) -> Layout:
    """Return what a label config has for an explanation.

    Args:
        label_config: XML.
        field: where it stood in the request, as a JSON pointer.

    Raises:
        RiseError: `invalid-parameters` for what is no label config, or has no control for an explanation.
    """
    try:
        elements = list(_elements(label_config))
        return _layout(elements)
    except DefusedXmlException as cause:
        raise _wrong(field, "a label config has no DTD and no entities") from cause
    except (ParseError, ValueError, LookupError) as cause:  # LookupError: of an encoding that nobody knows
        raise _wrong(field, str(cause)) from cause


def _wrong(field: str, detail: str) -> RiseError:
    return RiseError("invalid-parameters", f"label config: {detail}", errors=[FieldError(field, detail)])


def _elements(text: str) -> Iterator[Element]:
    """Yield the tags in the order in which they end: those of a control before itself."""
    if len(text) > _MAX_CHARACTERS:
        raise ValueError(f"it has {len(text)} characters; at most {_MAX_CHARACTERS} are read")
    depth = count = 0
    for event, element in iterparse(io.BytesIO(text.encode()), events=("start", "end"), forbid_dtd=True):
        depth += 1 if event == "start" else -1
        count += event == "start"
        if depth > _MAX_DEPTH or count > _MAX_TAGS:
            raise ValueError(f"at most {_MAX_TAGS} tags are read, {_MAX_DEPTH} deep")
        if event == "end":
            yield element


def _layout(elements: list[Element]) -> Layout:
    images = {element.get("name", ""): element for element in elements if element.tag == "Image"}
    controls = {
        kind: [element for element in elements if element.tag == tag and element.get("toName") in images]
        for kind, tag in _CONTROLS.items()
    }
    shown = next((found[0].get("toName", "") for found in controls.values() if found), None)
    if shown is None:
        raise ValueError(f"it needs an Image and, for it, one of {', '.join(_CONTROLS.values())}")
    mine = {
        kind: next((_control(element) for element in found if element.get("toName") == shown), None)
        for kind, found in controls.items()
    }
    field = _field(images[shown])
    overlays = (_field(image) for name, image in images.items() if name.lower() in _OVERLAYS and name != shown)
    return Layout(image=shown, field=field, overlay=next((name for name in overlays if name != field), None), **mine)


def _field(image: Element) -> str:
    found = _FIELD_OF_TASK.fullmatch(image.get("value", ""))
    if found is None:
        raise ValueError(f"the value of Image {image.get('name')!r} must be a field of tasks, as $image")
    return found[1]


def _control(element: Element) -> Control:
    labels = [_label(part) for part in element.iter() if part.tag in {"Label", "Choice"}]
    return Control(name=element.get("name", ""), labels=[label for label in labels if label.value])


def _label(element: Element) -> Label:
    predicted = element.get("predicted_values", "").lower().split(",")
    return Label(
        value=element.get("alias") or element.get("value", ""),
        predicted=[name.strip() for name in predicted if name.strip()],
    )
