"""The one use case: an image and a question become an explanation, once. Fingerprint, check, store, enqueue."""

import hashlib
import json
from datetime import UTC, datetime
from typing import NamedTuple

from pydantic import ValidationError

from app.admission import Admission
from app.caller import Caller
from app.catalogue import Catalogue, check_labels, complete_parameters, within_limits
from app.contract.arrivals import Arrivals
from app.contract.blobs import Blobs, image_blob
from app.contract.errors import FieldError, RiseError
from app.contract.logs import belongings
from app.contract.queue import Jobs
from app.contract.schemas import JsonObject, ModelRef, Question, Record, Request, Status
from app.contract.store import Store
from app.contract.tracing import carried
from app.contract.turns import Priority
from app.intake import CheckedImage, Intake


class Submitted(NamedTuple):
    """An explanation.

    Attributes:
        record: what is stored.
        created: whether this request made it.
        queue_position: jobs that stood before it just now; None where that has to be looked up.
        eta_seconds: estimated time until it has ended, where that is known.
    """

    record: Record
    created: bool
    queue_position: int | None = None
    eta_seconds: float | None = None

    @property
    def waits(self) -> bool:
        """Whether it is known where it waits."""
        return self.queue_position is not None


def read_question(fields: JsonObject) -> tuple[Question, JsonObject]:
    """Split a request's fields into what every method has and the parameters of one.

    Raises:
        RiseError: `invalid-parameters`, pointing at every field at fault.
    """
    own = {name: value for name, value in fields.items() if name in Question.model_fields}
    parameters = {name: value for name, value in fields.items() if name not in Question.model_fields}
    try:
        return Question.model_validate(own), parameters
    except ValidationError as cause:
        errors = [_field_error(error["loc"], error["msg"]) for error in cause.errors()]
        detail = "; ".join(dict.fromkeys(f"{error.field.lstrip('/')}: {error.detail}" for error in errors))
        raise RiseError("invalid-parameters", detail, errors=errors) from cause


def _field_error(place: tuple[int | str, ...], message: str) -> FieldError:
    kept = [str(part) for part in place if not isinstance(part, str) or part.isidentifier()]
    return FieldError("/" + "/".join(kept), message)


def build_request(catalogue: Catalogue, question: Question, parameters: JsonObject) -> Request:
    """Check a question against what live workers can do, and fill in every default.

    Raises:
        RiseError: for whatever no worker can do.
    """
    model = catalogue.ready_model(question.model)
    method = catalogue.method_for(question, model)
    check_labels(question, model)
    return Request(
        model=ModelRef(id=model.id, digest=model.digest or ""),
        method=method.id,
        targets=question.targets,
        parameters=within_limits(model, parameters, complete_parameters(method, parameters)),
    )


def fingerprint(request: Request, image_sha256: str, tenant: str) -> str:
    """Return the id of an explanation: hash of the image's bytes, the whole request and the model's digest.

    The tenant is part of it, so that nobody learns from an id that somebody else explained the same picture.
    """
    canonical = json.dumps(request.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{tenant}\n{image_sha256}\n{canonical}".encode()).hexdigest()[:32]


class Submission:
    """Stores and enqueues requests."""

    def __init__(
        self, intake: Intake, store: Store, blobs: Blobs, jobs: Jobs, arrivals: Arrivals, admission: Admission
    ) -> None:
        self._intake = intake
        self._admission = admission
        self._store = store
        self._blobs = blobs
        self._jobs = jobs
        self._arrivals = arrivals

    def submit(
        self,
        catalogue: Catalogue,
        request: Request,
        content: bytes,
        caller: Caller,
        priority: Priority = "interactive",
    ) -> Submitted:
        """Return the explanation of a request: the one that exists already, or a new one on the queue.

        The image is stored first, so that a job always finds what it needs.

        Raises:
            RiseError: `busy` or `too-many-requests`, before the image is decoded; then what is wrong with the image.
        """
        sha256 = hashlib.sha256(content).hexdigest()
        explanation_id = fingerprint(request, sha256, caller.tenant)
        queue, turn = self._admission.turn(catalogue, request, caller, priority)
        existing = self._store.read(explanation_id)
        if existing is not None and existing.status in {Status.QUEUED, Status.RUNNING, Status.SUCCEEDED}:
            if existing.status is Status.QUEUED:
                self._jobs.enqueue_explanation(queue, explanation_id, again=False, turn=turn)
            return Submitted(existing, created=False)
        with self._admission.place(queue, catalogue.workers_of(queue), caller, explanation_id):
            image = self._intake.check(content, sha256)
            self._blobs.put(image_blob(explanation_id), image.content)
            record = self._record(explanation_id, request, image, caller)
            created, position = self._arrivals.arrive(record, queue, turn)
        if not created:
            return Submitted(self._store.read(explanation_id) or record, created=False)
        self._admission.joined(queue, explanation_id, turn.seconds, position)
        eta_seconds = self._admission.eta_seconds(catalogue, request, explanation_id)
        return Submitted(record, created=True, queue_position=position, eta_seconds=eta_seconds)

    def _record(self, explanation_id: str, request: Request, image: CheckedImage, caller: Caller) -> Record:
        return Record(
            id=explanation_id,
            tenant=caller.tenant,
            request=request,
            image=image.info,
            status=Status.QUEUED,
            created_at=datetime.now(UTC),
            origin={**belongings(), **carried()},
            expires_at=self._store.expiry(),
        )
