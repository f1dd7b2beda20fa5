"""A Label Studio for tests that need none of its own mind: it has images, takes predictions, and remembers."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.conftest import SAMPLES
from tests.support.http_receivers import Answer, Asked, Receiver, receiver

CONFIG = """<View>
  <Image name="image" value="$image"/>
  <Choices name="class" toName="image"><Choice value="Star"/><Choice value="Ring"/></Choices>
  <RectangleLabels name="box" toName="image" smart="true">
    <Label value="Star"/><Label value="Triangle"/>
  </RectangleLabels>
  <BrushLabels name="where" toName="image"><Label value="50 %"/><Label value="80 %"/></BrushLabels>
  OVERLAY
</View>"""
PLAIN = CONFIG.replace("OVERLAY", "")
WITH_OVERLAY = CONFIG.replace("OVERLAY", '<Image name="overlay" value="$overlay"/>')


@dataclass
class FakeStudio:
    """What it was asked, and what it has.

    Attributes:
        server: where it is.
        up: whether it takes predictions.
        stored: predictions, in the order in which they came.
        data: of every task, by id.
        gone: tasks that were deleted.
    """

    up: threading.Event = field(default_factory=threading.Event)
    stored: list[dict[str, Any]] = field(default_factory=list)
    data: dict[int, dict[str, Any]] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    changed: threading.Condition = field(default_factory=threading.Condition)
    server: Receiver | None = None

    @property
    def url(self) -> str:
        assert self.server is not None
        return self.server.url

    def answer(self, asked: Asked) -> Answer:
        path, _, query = asked.path.partition("?")
        if path.startswith("/data/upload/"):
            return Answer(parts=((SAMPLES / path.rpartition("/")[2]).read_bytes(),))
        if not self.up.is_set():
            return Answer(502)
        if path.startswith("/api/predictions"):
            return self._predictions(path, query, asked)
        task = int(path.strip("/").rpartition("/")[2])
        if asked.method == "PATCH":
            return self._keep(lambda: self.data.update({task: json.loads(asked.body)["data"]}))
        return _json({"data": self.data.setdefault(task, {"image": "kept", "more": [1]})})

    def _predictions(self, path: str, query: str, asked: Asked) -> Answer:
        if path == "/api/predictions":
            return _json([one for one in self.stored if f"task={one['task']}" == query])
        prediction = json.loads(asked.body)
        if prediction["task"] in self.gone:
            return Answer(404)
        return self._keep(lambda: self.stored.append(prediction))

    def _keep(self, change: Any) -> Answer:
        with self.changed:
            change()
            self.changed.notify_all()
        return _json({})

    def wait_for(self, happened: Any, seconds: float = 60) -> None:
        with self.changed:
            assert self.changed.wait_for(happened, seconds), f"{len(self.stored)} predictions, data {self.data}"

    def predictions_of(self, task: int, count: int = 1) -> list[dict[str, Any]]:
        self.wait_for(lambda: len([one for one in self.stored if one["task"] == task]) >= count)
        return [one for one in self.stored if one["task"] == task]


def _json(content: Any) -> Answer:
    return Answer(parts=(json.dumps(content).encode(),))


@contextmanager
def fake_studio() -> Iterator[FakeStudio]:
    studio = FakeStudio()
    studio.up.set()
    with receiver(studio.answer) as server:
        studio.server = server
        yield studio
