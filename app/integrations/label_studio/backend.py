"""The ML backend of one front end: what tasks ask for becomes explanations, and explanations become predictions."""

import asyncio
from dataclasses import dataclass, field

from starlette.concurrency import run_in_threadpool

from app.auth.api_keys import Limits
from app.auth.principal import Principal
from app.contract.errors import invalid_field
from app.contract.schemas import CanonicalRequest, ExplanationRecord, JsonObject, Priority, StoredModel
from app.explanations.commands import SubmitCommand, split_params
from app.integrations.label_studio.api_client import LabelStudioClient
from app.integrations.label_studio.delayed_tasks import DelayedTask, DelayedTasks
from app.integrations.label_studio.task_images import TaskImages
from app.label_studio_format.controls import LabelingConfig
from app.label_studio_format.predictions import PredictionContext, prediction_of, version_of
from app.services import Services

_FETCHED_AT_ONCE = 8


class TaskJob(StoredModel):
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
    layout: LabelingConfig
    request: CanonicalRequest
    tenant: str
    key: str | None
    limits: Limits
    priority: Priority
    explanation: str | None = None

    @property
    def caller(self) -> Principal:
        """On whose behalf it is run."""
        return Principal(self.tenant, frozenset({"explain"}), self.key, self.limits)

    @property
    def version(self) -> str:
        """The model's version as Label Studio tells predictions apart: another for other weights or parameters."""
        return version_of(self.request)

    def delayed(self) -> DelayedTask:
        """Return the task to run it later."""
        return DelayedTask(id=f"{self.tenant}/{self.task}/{self.version}", content=self.model_dump(mode="json"))


@dataclass(frozen=True)
class MlBackend:
    """What routes and pusher share.

    Attributes:
        services: of this front end.
        studio: where tasks come from.
        tasks: predictions to be sent later.
    """

    services: Services
    studio: LabelStudioClient
    tasks: DelayedTasks
    _fetching: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_FETCHED_AT_ONCE))

    async def question(self, model: str | None, targets: list[JsonObject] | None = None) -> CanonicalRequest:
        """Return what is asked about every image, or about one target of one.

        Raises:
            RiseError: for whatever no worker can do.
        """
        settings = self.services.settings
        chosen = model or settings.label_studio_model
        if chosen is None:
            detail = "end the address of the ML backend with the name of a model, or set RISE_LABEL_STUDIO_MODEL"
            raise invalid_field("/model", detail)
        fields = {**settings.label_studio_parameters, "model": chosen, "targets": targets}
        catalogue = await run_in_threadpool(self.services.catalogue.now)
        return catalogue.resolve(*split_params(fields)).request

    async def image(self, errand: TaskJob) -> bytes:
        """Return the image of a task.

        Raises:
            RiseError: what `TaskImages.fetch` raises.
        """
        images = TaskImages(self.studio, self.services.image_fetcher)
        async with self._fetching:
            return await images.fetch(errand.address, errand.task, field=errand.field)

    async def started(self, errand: TaskJob, content: bytes | None = None) -> TaskJob:
        """Return the errand with its explanation, which exists already or is queued now.

        Args:
            errand: what to do.
            content: the image; None to fetch it.

        Raises:
            RiseError: what is wrong with the image, or that there is no room.
        """
        content = await self.image(errand) if content is None else content
        catalogue = await run_in_threadpool(self.services.catalogue.now)
        command = SubmitCommand(catalogue.route(errand.request), errand.caller, errand.priority)
        submitted = await self.services.explanations.submit(command, content)
        return errand.model_copy(update={"explanation": submitted.record.id})

    async def ended(self, errand: TaskJob, *, seconds: float) -> ExplanationRecord | None:
        """Return the explanation of a started errand when it has ended, or as it is when the time is up."""
        assert errand.explanation is not None
        return await self.services.explanations.wait(errand.explanation, seconds=seconds)

    async def prediction(self, errand: TaskJob, record: ExplanationRecord) -> JsonObject:
        """Return the prediction for a task from its finished explanation."""
        return await run_in_threadpool(prediction_of, record, self.services.renderer, self.wording(errand))

    def wording(self, errand: TaskJob) -> PredictionContext:
        """Return what a task's explanation is said with."""
        return PredictionContext(errand.layout, self.services.settings.label_studio_labels, errand.version)

    async def send_later(self, errand: TaskJob, *, seconds: float) -> None:
        """Have the prediction of a task sent, after so many seconds at the earliest."""
        await run_in_threadpool(self.tasks.schedule, errand.delayed(), seconds=seconds)

    async def send_nothing(self, errand: TaskJob) -> None:
        """Have no prediction of a task sent any more."""
        await run_in_threadpool(self.tasks.cancel, errand.delayed().id)


def is_told(record: ExplanationRecord | None) -> bool:
    """Return whether an explanation has come to something that a prediction can say."""
    return record is not None and record.tells
