"""The ML backend of one front end: what tasks ask for becomes explanations, and explanations become predictions."""

import asyncio
from dataclasses import dataclass, field

from starlette.concurrency import run_in_threadpool

from app.caller import Caller
from app.contract.delayed_tasks import DelayedTask, DelayedTasks
from app.contract.errors import RiseError, reported_error, wrong_field
from app.contract.keys import Limits
from app.contract.schemas import JsonObject, Priority, Record, Request, StoredModel
from app.dependencies import Services
from app.integrations.label_studio.images import TaskImages
from app.integrations.label_studio.studio import Studio
from app.label_studio.layout import Layout
from app.label_studio.predictions import Wording, prediction_of, version_of
from app.submission import build_request, read_question

_FETCHED_AT_ONCE = 8


class Errand(StoredModel):
    """One task and what is owed to it: everything that another front end needs to go on with it.

    Attributes:
        task: its id.
        address: of its image, as it stands in its data.
        field: where that stood in the request, as a JSON pointer.
        layout: of its project.
        request: what to ask about the image.
        tenant: who asks.
        key: their API key, whose places count.
        limits: of that key.
        priority: whether somebody waits for this one.
        explanation: that was made of it; None while there was no room.
    """

    task: int
    address: str
    field: str
    layout: Layout
    request: Request
    tenant: str
    key: str | None
    limits: Limits
    priority: Priority
    explanation: str | None = None

    @property
    def caller(self) -> Caller:
        """On whose behalf it is run."""
        return Caller(self.tenant, frozenset({"explain"}), self.key, self.limits)

    @property
    def version(self) -> str:
        """The model's version as Label Studio tells predictions apart: another for other weights or parameters."""
        return version_of(self.request)

    def delayed(self) -> DelayedTask:
        """Return the task to run it later."""
        return DelayedTask(id=f"{self.tenant}/{self.task}/{self.version}", content=self.model_dump(mode="json"))


@dataclass(frozen=True)
class Backend:
    """What routes and pusher share.

    Attributes:
        services: of this front end.
        studio: where tasks come from.
        tasks: predictions to be sent later.
    """

    services: Services
    studio: Studio
    tasks: DelayedTasks
    _fetching: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_FETCHED_AT_ONCE))

    async def question(self, model: str | None, targets: list[JsonObject] | None = None) -> Request:
        """Return what is asked about every image, or about one target of one.

        Raises:
            RiseError: for whatever no worker can do.
        """
        settings = self.services.settings
        chosen = model or settings.label_studio_model
        if chosen is None:
            detail = "end the address of the ML backend with the name of a model, or set RISE_LABEL_STUDIO_MODEL"
            raise wrong_field("/model", detail)
        fields = {**settings.label_studio_parameters, "model": chosen, "targets": targets}
        asked, parameters = read_question(fields)
        catalogue = await run_in_threadpool(self.services.catalogue.now)
        return build_request(catalogue, asked, parameters)

    async def image(self, errand: Errand) -> bytes:
        """Return the image of a task.

        Raises:
            RiseError: what `TaskImages.fetch` raises.
        """
        images = TaskImages(self.studio, self.services.pictures)
        async with self._fetching:
            return await images.fetch(errand.address, errand.task, field=errand.field)

    async def started(self, errand: Errand, content: bytes | None = None) -> Errand:
        """Return the errand with its explanation, which exists already or is queued now.

        Args:
            errand: what to do.
            content: the image; None to fetch it.

        Raises:
            RiseError: what is wrong with the image, or that there is no room.
        """
        content = await self.image(errand) if content is None else content
        catalogue = await run_in_threadpool(self.services.catalogue.now)
        submit = self.services.submission.submit
        record = (await submit(catalogue, errand.request, content, errand.caller, errand.priority)).record
        return errand.model_copy(update={"explanation": record.id})

    async def ended(self, errand: Errand, *, seconds: float) -> Record | None:
        """Return the explanation of a started errand when it has ended, or as it is when the time is up."""
        assert errand.explanation is not None
        after = await self.services.events.position(errand.explanation)
        record = await run_in_threadpool(self.services.store.read, errand.explanation)
        if record is None or record.status.ended:
            return record
        await self.services.events.wait_for_end(errand.explanation, after=after, seconds=seconds)
        return await run_in_threadpool(self.services.store.read, errand.explanation)

    async def prediction(self, errand: Errand, record: Record) -> JsonObject:
        """Return the prediction for a task from its finished explanation."""
        return await run_in_threadpool(prediction_of, record, self.services.blobs, self.wording(errand))

    def wording(self, errand: Errand) -> Wording:
        """Return what a task's explanation is said with."""
        return Wording(errand.layout, self.services.settings.label_studio_labels, errand.version)

    async def send_later(self, errand: Errand, *, seconds: float) -> None:
        """Have the prediction of a task sent, after so many seconds at the earliest."""
        await run_in_threadpool(self.tasks.schedule, errand.delayed(), seconds=seconds)

    async def send_nothing(self, errand: Errand) -> None:
        """Have no prediction of a task sent any more."""
        await run_in_threadpool(self.tasks.cancel, errand.delayed().id)


def is_told(record: Record | None) -> bool:
    """Return whether an explanation has come to something that a prediction can say."""
    return record is not None and record.tells


def failure_of(record: Record | None) -> RiseError | None:
    """Return why an explanation will never come to anything; None where it may, or has."""
    if record is None:
        return RiseError("expired", "the explanation is gone")
    if not record.status.ended or is_told(record):
        return None
    if record.error is not None:
        return reported_error(record.error.code, record.error.detail)
    return RiseError("model-failed", f"the explanation was {record.status.value}")
