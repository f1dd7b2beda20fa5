"""An explanation in a notebook with the viewer of the service's page: opacity, colours, values under the pointer.

Needs the extra `notebook` (anywidget). The viewer is a frame of the service, so the service names the notebook's
address: `RISE_FRAME_ANCESTORS=http://localhost:8888`.
"""

from pathlib import Path
from typing import Any

import anywidget
import traitlets


class ExplanationViewer(anywidget.AnyWidget):
    """The viewer of one explanation, with all of its targets.

    An API key is sent to the frame when it asks for it; it is no trait, so that no notebook is saved with it.

    Args:
        address: of the viewer.
        key: an API key, where the service asks for one.
        height: of the frame, in pixels.
    """

    _esm = Path(__file__).with_name("notebook.js")
    address = traitlets.Unicode().tag(sync=True)
    height = traitlets.Int(640).tag(sync=True)

    def __init__(self, address: str, key: str | None, *, height: int) -> None:
        super().__init__(address=address, height=height)
        self._key = key
        self.on_msg(self._answer)

    def _answer(self, _: Any, content: Any, __: Any) -> None:
        if content == "ready" and self._key is not None:
            self.send({"key": self._key})
