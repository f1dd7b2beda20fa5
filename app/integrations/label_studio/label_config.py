"""What a project's label config has for an explanation: an image, controls to say it with, a place for the overlay.

A config is XML that annotators' managers write, so it is read with defusedxml (no DTD, no entities, nothing external)
and bounded in size, depth and number of tags.
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
_FIELD_OF_TASK = re.compile(r"\$([A-Za-z0-9_.-]+)")
_OVERLAYS = {"overlay", "saliency"}


def read_layout(label_config: str, *, field: str) -> LabelingConfig:
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


def _layout(elements: list[Element]) -> LabelingConfig:
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
    return LabelingConfig(
        image=shown, field=field, overlay=next((name for name in overlays if name != field), None), **mine
    )


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
