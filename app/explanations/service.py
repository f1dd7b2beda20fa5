"""The one use case: an image and a question become an explanation, once. Fingerprint, check, store, enqueue.

What waits for Redis or the object store, or takes time, runs in the thread pool.
"""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from app.admission.controller import AdmissionController
from app.auth.principal import Principal
from app.contract.errors import FieldError, RiseError
from app.contract.explanations.store import ExplanationStore
from app.contract.queue.fair_queue import scheduling_tags_of
from app.contract.queue.jobs import JobQueue
from app.contract.queue.throughput import ThroughputStats
from app.contract.schemas import (
    CanonicalRequest,
    ExplanationParams,
    ExplanationRecord,
    ImageInfo,
    JsonObject,
    ModelRef,
    Priority,
    Status,
)
from app.contract.storage.object_store import BlobStore, image_blob
from app.contract.tracing import request_context
from app.explanations.catalogue import Catalogue, check_boxes, check_labels, clamp_masks, complete_parameters
from app.explanations.enqueue import ExplanationCreator
from app.images.validation import ImageValidator

_OWN_FIELDS = frozenset(ExplanationParams.model_fields)
_STANDS = frozenset({Status.QUEUED, Status.RUNNING, Status.SUCCEEDED})


class SubmitResult(NamedTuple):
    """An explanation.

    Attributes:
        record: what is stored.
        created: whether this request made it.
        queue_position: jobs that stood before it just now; None where that has to be looked up.
        eta_seconds: estimated time until it has ended, where that is known.
    """

    record: ExplanationRecord
    created: bool
    queue_position: int | None = None
    eta_seconds: float | None = None

    @property
    def waits(self) -> bool:
        """Whether it is known where it waits."""
        return self.queue_position is not None


def split_params(fields: JsonObject) -> tuple[ExplanationParams, JsonObject]:
    """Split a request's fields into what every method has and the parameters of one.

    Raises:
        RiseError: `invalid-parameters`, pointing at every field at fault.
    """
    own = {name: value for name, value in fields.items() if name in _OWN_FIELDS}
    parameters = {name: value for name, value in fields.items() if name not in _OWN_FIELDS}
    try:
        return ExplanationParams.model_validate(own), parameters
    except ValidationError as cause:
        errors = [_field_error(error["loc"], error["msg"]) for error in cause.errors()]
        detail = "; ".join(dict.fromkeys(f"{error.field.lstrip('/')}: {error.detail}" for error in errors))
        raise RiseError("invalid-parameters", detail, errors=errors) from cause


def _field_error(place: tuple[int | str, ...], message: str) -> FieldError:
    kept = [str(part) for part in place if not isinstance(part, str) or part.isidentifier()]
    return FieldError("/" + "/".join(kept), message)


def build_request(catalogue: Catalogue, question: ExplanationParams, parameters: JsonObject) -> CanonicalRequest:
    """Check a question against what live workers can do, and fill in every default.

    Raises:
        RiseError: for whatever no worker can do.
    """
    model = catalogue.ready_model(question.model)
    method = catalogue.method_for(question, model)
    check_labels(question, model)
    return CanonicalRequest(
        model=ModelRef(id=model.id, digest=model.digest or ""),
        method=method.id,
        targets=question.targets,
        parameters=clamp_masks(model, parameters, complete_parameters(method, parameters)),
    )


def fingerprint(request: CanonicalRequest, image_sha256: str, tenant: str) -> str:
    """Return the id of an explanation: hash of the image's bytes, the whole request and the model's digest.

    The tenant is part of it, so that nobody learns from an id that somebody else explained the same picture.
    """
    canonical = json.dumps(request.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{tenant}\n{image_sha256}\n{canonical}".encode()).hexdigest()[:32]


class ExplanationService:
    """Stores and enqueues requests.

    Args:
        intake: checks images.
        explanations: reads what is there already.
        blobs: where images are stored.
        jobs: the queues.
        creator: stores new explanations together with their jobs.
        admission: refuses requests for which there is no room.
        throughput: what work is estimated with.
        keep_seconds: how long an explanation lives.
    """

    def __init__(
        self,
        intake: ImageValidator,
        explanations: ExplanationStore,
        blobs: BlobStore,
        jobs: JobQueue,
        creator: ExplanationCreator,
        admission: AdmissionController,
        throughput: ThroughputStats,
        *,
        keep_seconds: int,
    ) -> None:
        self._intake = intake
        self._explanations = explanations
        self._blobs = blobs
        self._jobs = jobs
        self._admission = admission
        self._throughput = throughput
        self._keep_seconds = keep_seconds
        self._creator = creator

    async def submit(
        self,
        catalogue: Catalogue,
        request: CanonicalRequest,
        content: bytes,
        caller: Principal,
        priority: Priority = "interactive",
    ) -> SubmitResult:
        """Return the explanation of a request: the one that exists already, or a new one on the queue.

        The image is stored first, so that a job always finds what it needs.

        Raises:
            RiseError: `busy` or `too-many-requests`, before the image is decoded; then what is wrong with the image.
        """
        sha256 = hashlib.sha256(content).hexdigest()
        explanation_id = fingerprint(request, sha256, caller.tenant)
        queue = catalogue.queue_of(request.model.id)
        workers = catalogue.workers_of(queue)
        existing = await run_in_threadpool(self._explanations.read, explanation_id)
        if existing is not None and existing.status in _STANDS:
            if existing.status is Status.QUEUED:
                await run_in_threadpool(self._enqueue_again, existing, queue, priority)
            return SubmitResult(existing, created=False)
        async with self._admission.admit(explanation_id, caller, queue=queue, workers=workers) as slot:
            info = (await self._intake.validate(content)).info
            check_boxes(request, info)
            await run_in_threadpool(self._blobs.put, image_blob(explanation_id), content)
            record = self._record(explanation_id, request, info, caller, priority)
            tags = scheduling_tags_of(record, slot.pace)
            created, position = await run_in_threadpool(self._creator.create, record, queue, tags)
        if not created:
            stored = await run_in_threadpool(self._explanations.read, explanation_id)
            return SubmitResult(stored or record, created=False)
        eta_seconds = slot.enqueued(position, seconds=tags.seconds)
        if eta_seconds is None:
            return SubmitResult(record, created=True)
        return SubmitResult(record, created=True, queue_position=position, eta_seconds=eta_seconds)

    def _enqueue_again(self, record: ExplanationRecord, queue: str, priority: Priority) -> None:
        """Enqueue a queued explanation whose job was lost, or move it to a better lane."""
        record = record.model_copy(update={"priority": priority})
        tags = scheduling_tags_of(record, self._throughput.seconds_per_mask())
        self._jobs.enqueue_explanation(queue, record.id, again=False, turn=tags)

    def _record(
        self, explanation_id: str, request: CanonicalRequest, info: ImageInfo, caller: Principal, priority: Priority
    ) -> ExplanationRecord:
        now = datetime.now(UTC)
        return ExplanationRecord(
            id=explanation_id,
            tenant=caller.tenant,
            priority=priority,
            request=request,
            image=info,
            status=Status.QUEUED,
            created_at=now,
            origin=request_context(),
            expires_at=now + timedelta(seconds=self._keep_seconds),
        )
