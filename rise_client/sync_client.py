"""The client for programs without an event loop, and for notebooks: `AsyncClient`, run in a thread of its own."""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from rise_client.async_client import AsyncClient, AsyncExplanation, Map, Mask
from rise_client.batches import Batch
from rise_client.event_loop_thread import EventLoopThread
from rise_client.images import ImageInput
from rise_client.models import AuditData, ExplanationData, MethodCard, ModelCard, Prediction, Progress

if TYPE_CHECKING:
    from rise_client.notebook import ExplanationViewer

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class Client:
    """Talks to a service; see `AsyncClient` for arguments and errors.

    Use it as a context, or close it; it is closed at last when neither it nor anything that it gave is used any more.
    """

    def __init__(self, url: str, key: str | None = None, **options: Any) -> None:
        self._client = AsyncClient(url, key, **options)
        self._thread = EventLoopThread(self._client.close)

    def explain(self, image: ImageInput, *, model: str, **fields: Any) -> "Explanation":
        """Request an explanation; returns at once. See `AsyncClient.explain`."""
        return Explanation(self._thread, self._run(self._client.explain, image, model=model, **fields))

    def explanation(self, explanation_id: str) -> "Explanation":
        """Return an explanation that exists."""
        return Explanation(self._thread, self._run(self._client.explanation, explanation_id))

    def audit(self, explanation_id: str) -> AuditData:
        """Return the audit of an explanation that exists, when it has ended; see `AsyncExplanation.audit`."""
        return self._run(self._client.audit, explanation_id)

    def batch(self, paths: Iterable[str | Path], *, model: str, **fields: Any) -> Batch:
        """Request explanations of many image files; returns as soon as they are sent. See `AsyncClient.batch`."""
        return Batch(self._thread, self._run(self._client.batch, paths, model=model, **fields))

    def survey(self, paths: Iterable[str | Path], *, annotations: str | Path, model: str, **fields: Any) -> Batch:
        """Request explanations of many annotated image files. See `AsyncClient.survey`."""
        survey = self._run(self._client.survey, paths, annotations=annotations, model=model, **fields)
        return Batch(self._thread, survey)

    def predict(self, image: ImageInput, *, model: str, limit: int = 10) -> list[Prediction]:
        """Return what a model sees in an image, the strongest first."""
        return self._run(self._client.predict, image, model=model, limit=limit)

    def models(self) -> list[ModelCard]:
        """Return every model."""
        return self._run(self._client.models)

    def methods(self) -> list[MethodCard]:
        """Return every method with the schema of its parameters."""
        return self._run(self._client.methods)

    def _run(
        self,
        function: Callable[Parameters, Awaitable[Result]],
        *arguments: Parameters.args,
        **options: Parameters.kwargs,
    ) -> Result:
        return self._thread.call(function, *arguments, **options)

    def close(self) -> None:
        """Close the connections and end the thread."""
        self._thread.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Explanation:
    """An explanation on the service; see `AsyncExplanation`. A notebook shows its overlay, when it has ended."""

    def __init__(self, thread: EventLoopThread, explanation: AsyncExplanation) -> None:
        self._thread = thread
        self._explanation = explanation

    @property
    def data(self) -> ExplanationData:
        """What was last read of it."""
        return self._explanation.data

    @property
    def map(self) -> Map:
        """The first target's map, `[H, W]`, or `[K, H, W]` for several fills: change of the score, signed."""
        return self.map_of(0)

    @property
    def standard_error(self) -> Map:
        """The standard error of the first target's map, of its shape."""
        return self._thread.call(self._explanation.standard_error, 0)

    def map_of(self, target: int | str, **which: Any) -> Map:
        """Return the map of a target by its index, or of any class by its name; see `AsyncExplanation.map`."""
        return self._thread.call(partial(self._explanation.map, target, **which))

    def archive(self, target: int | str = 0) -> bytes:
        """Return a map with its error bars and all that belongs to it, as the bytes of a `.npz` file."""
        return self._thread.call(self._explanation.archive, target)

    def overlay(self, index: int = 0, **style: Any) -> bytes:
        """Return the image with the map over it, a PNG; `style` is `alpha`, `cmap`, `signed`, `max_side`."""
        return self._thread.call(partial(self._explanation.overlay, index, **style))

    def region(self, index: int = 0, *, level: float = 0.5) -> Mask:
        """Return the smallest region that holds a share of the positive saliency, `[H, W]`, true inside."""
        return self._thread.call(partial(self._explanation.region, index, level=level))

    def wait(self, seconds: float = float("inf")) -> Self:
        """Wait until it has succeeded; see `AsyncExplanation.wait`."""
        self._thread.call(self._explanation.wait, seconds)
        return self

    def audit(self, seconds: float = float("inf")) -> AuditData:
        """Ask for its audit and wait for it; see `AsyncExplanation.audit`."""
        return self._thread.call(self._explanation.audit, seconds)

    def progress(self) -> Iterator[Progress]:
        """Yield its progress as it comes, until it has ended."""
        return self._thread.iterate(self._explanation.progress())

    def refresh(self) -> Self:
        """Read it again."""
        self._thread.call(self._explanation.refresh)
        return self

    def cancel(self) -> Self:
        """Stop it."""
        self._thread.call(self._explanation.cancel)
        return self

    def delete(self) -> None:
        """Remove it with everything that belongs to it."""
        self._thread.call(self._explanation.delete)

    def viewer(self, *, height: int = 640) -> "ExplanationViewer":
        """Return the viewer of the service's page, for a notebook; see `AsyncExplanation.viewer`."""
        return self._explanation.viewer(height=height)

    def __repr__(self) -> str:
        return repr(self._explanation).replace("<Async", "<", 1)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {**self._explanation._repr_mimebundle_(), "text/plain": repr(self)}
