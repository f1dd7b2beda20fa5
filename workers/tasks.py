"""The job functions of a worker: `explain`, `audit`, `predict`, `measure`, `survey_figures` and `survey_report`."""

import logging
import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from rq import Retry

from app.contract.errors import RiseError, StorageError
from app.contract.images.decoding import decode
from app.contract.log_context import log_context, propagated_context
from app.contract.saliency.geometry import viewport_of_image
from app.contract.saliency.rendering import draw
from app.contract.schemas import ExplanationRecord, Failure, JsonObject, MetricsRequest
from app.contract.storage.object_store import image_blob, survey_failure_blob
from app.contract.survey import SurveyImage
from app.contract.tracing import span
from workers.execution.audit import execute_audit
from workers.execution.run import JobContext, execute, load_and_plan, requeue_at_front
from workers.execution.survey import write_figures, write_report
from workers.explainer.evaluation import measure as measure_map
from workers.explainer.prediction import predict_image
from workers.supervision.current_attempt import OwnershipLost, ShutdownRequested, model_call
from workers.supervision.failures import failure_of, is_retryable

logger = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[JobContext, ExplanationRecord, str], Retry | None]
"""What one execution of a record does; returns what requeues its job where it has not come to the end."""


def explain(context: JobContext, explanation_id: str) -> Retry | None:
    """Run one explanation from its first missing block to its end.

    Returns:
        None when the explanation has ended, whatever the outcome: its failure is stored with it. A `Retry` requeues
        the job because this worker is to stop.

    Raises:
        Exception: where a retry may succeed (`is_retryable`); RQ makes it.
    """
    return _carried_out(context, explanation_id, execute)


def audit(context: JobContext, audit_id: str) -> Retry | None:
    """Run one audit; otherwise as `explain`."""
    return _carried_out(context, audit_id, execute_audit)


def _carried_out(context: JobContext, explanation_id: str, work: Work) -> Retry | None:
    execution = uuid.uuid4().hex
    with log_context(explanation=explanation_id):
        record = _attempted(context, explanation_id, execution, context.store.start)
        if not isinstance(record, ExplanationRecord):
            return None
        model, method = record.request.model.id, record.request.method
        with (
            log_context(**propagated_context(record.origin)),
            span("explain", record.origin, explanation=explanation_id, model=model, method=method),
        ):
            return _attempted(context, explanation_id, execution, lambda *_: _run(context, record, execution, work))


def _attempted(
    context: JobContext, explanation_id: str, execution: str, step: Callable[[str, str], T]
) -> T | Retry | None:
    """Return what a step of an execution returns; None where its explanation has ended, and the failure is stored."""
    try:
        return step(explanation_id, execution)
    except OwnershipLost:
        logger.info("explanation %s was cancelled or taken over", explanation_id)
    except ShutdownRequested:
        return requeue_at_front()
    except Exception as error:
        if is_retryable(error):
            raise
        context.store.fail(explanation_id, _log_failure(f"explanation {explanation_id}", error), execution=execution)
    return None


def _run(context: JobContext, record: ExplanationRecord, execution: str, work: Work) -> Retry | None:
    started = time.monotonic()
    retry = work(context, record, execution)
    words = "handed back" if retry else "succeeded"
    logger.info("explanation %s %s after %.1f s", record.id, words, time.monotonic() - started)
    return retry


def _log_failure(what: str, error: Exception) -> Failure:
    """Return the failure that a client gets for an exception; an unexpected one is logged with its traceback."""
    failure = failure_of(error)
    logger.warning("%s failed: %s", what, failure.detail, exc_info=failure.code == "internal")
    return failure


def predict(context: JobContext, model_id: str, blob: str, limit: int) -> JsonObject:
    """Return as `found` the predictions of a model for an image, highest first; or `code` and `detail` of a failure."""
    return _reply("a prediction", lambda: _predicted(context, model_id, blob, limit))


def _predicted(context: JobContext, model_id: str, blob: str, limit: int) -> list[JsonObject]:
    model = context.models.get(model_id)
    image = decode(context.blobs.get(blob))
    with model_call(model_id):
        found = predict_image(model.black_box, image, limit=limit)
    return [prediction.model_dump(mode="json") for prediction in found]


def measure(context: JobContext, explanation_id: str, request: JsonObject) -> JsonObject:
    """Return as `found` the metrics of a finished explanation; or `code` and `detail` of a failure."""
    with log_context(explanation=explanation_id):
        return _reply("a measurement", lambda: _measured(context, explanation_id, request))


def _reply(what: str, call: Callable[[], Any]) -> JsonObject:
    """Return as `found` the result of a call; or `code` and `detail` of a failure: the caller waits for either."""
    try:
        return {"found": call()}
    except ShutdownRequested:
        return {"code": "busy", "detail": "the worker is leaving; ask again"}
    except Exception as error:
        return _log_failure(what, error).model_dump()


def _measured(context: JobContext, explanation_id: str, request: JsonObject) -> JsonObject:
    metrics_request = MetricsRequest.model_validate(request)
    record = context.store.read(explanation_id)
    if record is None or record.state is None:
        raise RiseError("not-found", f"there is no map of explanation {explanation_id!r}")
    image = decode(context.blobs.get(image_blob(record.id)))
    model, plan = load_and_plan(context, record, image)
    arrays = context.blobs.get_arrays([checkpoint.blob for checkpoint in record.state.checkpoints])
    row, viewport = record.state.target_rows[metrics_request.target], viewport_of_image(image.width, image.height)
    saliency_map = draw(record.state, arrays, row, viewport)
    with model_call(model.id):
        return measure_map(model.black_box, image, plan, saliency_map, metrics_request)


def survey_figures(context: JobContext, batch_id: str, first: int, images: list[JsonObject]) -> Retry | None:
    """Measure a chunk of a batch's images and store the figures; see `_stored`."""
    chunk = [SurveyImage.model_validate(image) for image in images]
    return _stored(context, batch_id, lambda: write_figures(context, batch_id, first, chunk))


def survey_report(context: JobContext, batch_id: str, total: int) -> Retry | None:
    """Build and store the report of a batch of `total` images; see `_stored`."""
    return _stored(context, batch_id, lambda: write_report(context, batch_id, total))


def _stored(context: JobContext, batch_id: str, step: Callable[[], None]) -> Retry | None:
    """Run a step of a survey, whose failure is stored with the batch.

    Returns:
        None, or what requeues the job because this worker is to stop.

    Raises:
        Exception: where another attempt may succeed.
    """
    with log_context(batch=batch_id):
        try:
            step()
        except ShutdownRequested:
            return requeue_at_front()
        except Exception as error:
            if is_retryable(error) or isinstance(error, StorageError):
                raise
            failure = _log_failure(f"the survey of batch {batch_id}", error)
            context.blobs.put(survey_failure_blob(batch_id), failure.model_dump_json().encode())
        return None
