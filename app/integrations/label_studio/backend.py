"""The ML backend of one front end: tasks become explanations, and explanations become predictions."""

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

_FETCH_CONCURRENCY = 8


class TaskJob(StoredModel):
    """One task: everything that another front end needs to continue it.

    Attributes:
        task: its id.
        address: of its image, as its data has it.
        field: the JSON pointer of the address in the request.
        layout: the label config of its project.
        request: for its image.
        tenant: of the caller.
        key: id of the caller's API key, whose quota counts.
        limits: of that key.
        priority: of the explanation.
        explanation: its id; None while it is not submitted.
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
    def principal(self) -> Principal:
        """The caller that it belongs to."""
        return Principal(self.tenant, frozenset({"explain"}), self.key, self.limits)

    @property
    def version(self) -> str:
        """The model version of its prediction: another one for other weights or parameters."""
        return version_of(self.request)

    def delayed(self) -> DelayedTask:
        """Return it as a task for later."""
        return DelayedTask(id=f"{self.tenant}/{self.task}/{self.version}", content=self.model_dump(mode="json"))


@dataclass(frozen=True)
class MlBackend:
    """What routes and pusher share.

    Attributes:
        services: of this front end.
        studio: client of the Label Studio that sends tasks.
        tasks: predictions to be pushed later.
    """

    services: Services
    studio: LabelStudioClient
    tasks: DelayedTasks
    _fetch_limiter: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_FETCH_CONCURRENCY))

    async def resolve(self, model: str | None, targets: list[JsonObject] | None = None) -> CanonicalRequest:
        """Return the request for every image, or for certain targets of one.

        Raises:
            RiseError: for what no live worker can do.
        """
        settings = self.services.settings
        chosen = model or settings.label_studio_model
        if chosen is None:
            detail = "end the address of the ML backend with the name of a model, or set RISE_LABEL_STUDIO_MODEL"
            raise invalid_field("/model", detail)
        fields = {**settings.label_studio_parameters, "model": chosen, "targets": targets}
        catalogue = await run_in_threadpool(self.services.catalogue.now)
        if model:
            catalogue.addressed_model(model)
        return catalogue.resolve(*split_params(fields)).request

    async def fetch_image(self, job: TaskJob) -> bytes:
        """Return the image of a task.

        Raises:
            RiseError: what `TaskImages.fetch` raises.
        """
        images = TaskImages(self.studio, self.services.image_fetcher)
        async with self._fetch_limiter:
            return await images.fetch(job.address, job.task, field=job.field)

    async def submit(self, job: TaskJob, content: bytes | None = None) -> TaskJob:
        """Return the job with its explanation, which exists already or is queued now.

        Args:
            job: a task without explanation.
            content: the image; None to fetch it.

        Raises:
            RiseError: what `ExplanationService.submit` raises.
        """
        content = await self.fetch_image(job) if content is None else content
        catalogue = await run_in_threadpool(self.services.catalogue.now)
        command = SubmitCommand(catalogue.route(job.request), job.principal, job.priority)
        submitted = await self.services.explanations.submit(command, content)
        return job.model_copy(update={"explanation": submitted.record.id})

    async def wait(self, job: TaskJob, *, seconds: float) -> ExplanationRecord | None:
        """Return the explanation of a submitted job when it has ended, or as it is after `seconds`."""
        assert job.explanation is not None
        return await self.services.explanations.wait(job.explanation, seconds=seconds)

    async def prediction(self, job: TaskJob, record: ExplanationRecord) -> JsonObject:
        """Return the prediction for a task from its finished explanation."""
        return await run_in_threadpool(prediction_of, record, self.services.renderer, self.context(job))

    def context(self, job: TaskJob) -> PredictionContext:
        """Return how the explanation of a task is presented."""
        return PredictionContext(job.layout, self.services.settings.label_studio_labels, job.version)

    async def schedule(self, job: TaskJob, *, seconds: float) -> None:
        """Push the prediction of a task after `seconds` at the earliest."""
        await run_in_threadpool(self.tasks.schedule, job.delayed(), seconds=seconds)

    async def cancel(self, job: TaskJob) -> None:
        """Push no prediction of a task any more."""
        await run_in_threadpool(self.tasks.cancel, job.delayed().id)


def has_result(record: ExplanationRecord | None) -> bool:
    """Return whether an explanation has a result that a prediction can show."""
    return record is not None and record.is_answered
