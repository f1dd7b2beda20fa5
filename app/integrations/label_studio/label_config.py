"""Reads the label config of a project: its image, the controls that can show an explanation, a field for the overlay.

A config is untrusted XML, so it is read with defusedxml (no DTD, no entities, nothing external) and bounded in size,
depth and number of tags.
"""

import io
import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import iterparse

from app.contract.errors import FieldError, RiseError
from app.label_studio_format.controls import Control, Label, LabelingConfig

_MAX_CHARACTERS = 1_000_000
_MAX_DEPTH = 100
_MAX_TAGS = 20_000
_CONTROLS = {"choices": "Choices", "rectangles": "RectangleLabels", "brushes": "BrushLabels"}
_TASK_FIELD = re.compile(r"\$([A-Za-z0-9_.-]+)")
_OVERLAYS = {"overlay", "saliency"}


def read_layout(label_config: str, *, field: str) -> LabelingConfig:
    """Return the controls of a label config that can show an explanation.

    Args:
        label_config: XML.
        field: its JSON pointer in the request.

    Raises:
        RiseError: `invalid-parameters` for what is no label config, or has no control for an explanation.
    """
    try:
        elements = list(_elements(label_config))
        return _layout(elements)
    except DefusedXmlException as cause:
        raise _error(field, "a label config has no DTD and no entities") from cause
    except (ParseError, ValueError, LookupError) as cause:  # LookupError: of an unknown encoding
        raise _error(field, str(cause)) from cause


def _error(field: str, detail: str) -> RiseError:
    return RiseError("invalid-parameters", f"label config: {detail}", errors=[FieldError(field, detail)])


def _elements(text: str) -> Iterator[Element]:
    """Yield the tags in the order in which they end: children before their parent."""
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


def _layout(elements: list[Element]) -> LabelingConfig:
    images = {element.get("name", ""): element for element in elements if element.tag == "Image"}
    controls = {
        kind: [element for element in elements if element.tag == tag and element.get("toName") in images]
        for kind, tag in _CONTROLS.items()
    }
    image = next((found[0].get("toName", "") for found in controls.values() if found), None)
    if image is None:
        raise ValueError(f"it needs an Image and, for it, one of {', '.join(_CONTROLS.values())}")
    selected = {
        kind: next((_control(element) for element in found if element.get("toName") == image), None)
        for kind, found in controls.items()
    }
    field = _field_of_task(images[image])
    others = {name: element for name, element in images.items() if name != image}
    overlays = (_field_of_task(element) for name, element in others.items() if name.lower() in _OVERLAYS)
    return LabelingConfig(
        image=image, field=field, overlay=next((name for name in overlays if name != field), None), **selected
    )


def _field_of_task(image: Element) -> str:
    found = _TASK_FIELD.fullmatch(image.get("value", ""))
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
