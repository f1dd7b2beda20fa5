"""What jobs do: `explain`, `predict` and `measure`. With `execution.py` the only code that knows Redis and tensors."""

import logging
import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from rq import Retry

from app.contract.blobs import image_blob
from app.contract.drawing import draw
from app.contract.errors import RiseError
from app.contract.geometry import frame_of_image
from app.contract.images import decode
from app.contract.logs import belonging, names_in
from app.contract.schemas import Failure, JsonObject, MetricsRequest, Record
from app.contract.tracing import span
from workers.attempt import Stopped, model_call
from workers.execution import Context, Superseded, execute, hand_back, load_and_plan
from workers.failures import failure_of, is_retryable
from workers.measurement import measure as measure_map
from workers.prediction import predict_image

logger = logging.getLogger(__name__)

T = TypeVar("T")


def explain(context: Context, explanation_id: str) -> Retry | None:
    """Run one explanation from its first missing block to its end.

    Returns:
        None when there is nothing more to do, whatever the outcome: what went wrong is stored on the explanation. A
        `Retry` hands the job back because this worker is stopping.

    Raises:
        Exception: what may go better in another attempt (`is_retryable`); RQ makes it.
    """
    execution = uuid.uuid4().hex
    with belonging(explanation=explanation_id):
        record = _attempted(context, explanation_id, execution, context.store.start)
        if not isinstance(record, Record):
            return None
        model, method = record.request.model.id, record.request.method
        with (
            belonging(**names_in(record.origin)),
            span("explain", record.origin, explanation=explanation_id, model=model, method=method),
        ):
            return _attempted(context, explanation_id, execution, lambda *_: _run(context, record, execution))


def _attempted(
    context: Context, explanation_id: str, execution: str, step: Callable[[str, str], T]
) -> T | Retry | None:
    """Return what a step of an execution returns; None where its explanation has ended, and why is stored."""
    try:
        return step(explanation_id, execution)
    except Superseded:
        logger.info("explanation %s was cancelled or taken over", explanation_id)
    except Stopped:
        return hand_back()
    except Exception as error:
        if is_retryable(error):
            raise
        context.store.fail(explanation_id, _told(f"explanation {explanation_id}", error), execution=execution)
    return None


def _run(context: Context, record: Record, execution: str) -> Retry | None:
    started = time.monotonic()
    retry = execute(context, record, execution)
    words = "handed back" if retry else "succeeded"
    logger.info("explanation %s %s after %.1f s", record.id, words, time.monotonic() - started)
    return retry


def _told(what: str, error: Exception) -> Failure:
    """Return what is told of an exception; one that nobody has foreseen is logged with its traceback."""
    failure = failure_of(error)
    logger.warning("%s failed: %s", what, failure.detail, exc_info=failure.code == "internal")
    return failure


def predict(context: Context, model_id: str, blob: str, limit: int) -> JsonObject:
    """Return as `found` what a model sees in an image, strongest first; or `code` and `detail` of what went wrong."""
    return _answered("a prediction", lambda: _predicted(context, model_id, blob, limit))


def _predicted(context: Context, model_id: str, blob: str, limit: int) -> list[JsonObject]:
    model = context.models.get(model_id)
    image = decode(context.blobs.get(blob))
    with model_call(model_id):
        found = predict_image(model.black_box, image, limit=limit)
    return [prediction.model_dump(mode="json") for prediction in found]


def measure(context: Context, explanation_id: str, request: JsonObject) -> JsonObject:
    """Return as `found` the metrics of a finished explanation; or `code` and `detail` of what went wrong."""
    with belonging(explanation=explanation_id):
        return _answered("a measurement", lambda: _measured(context, explanation_id, request))


def _answered(what: str, call: Callable[[], Any]) -> JsonObject:
    """Return as `found` what comes of a call; or `code` and `detail` of what went wrong, because somebody waits."""
    try:
        return {"found": call()}
    except Stopped:
        return {"code": "busy", "detail": "the worker is leaving; ask again"}
    except Exception as error:
        return _told(what, error).model_dump()


def _measured(context: Context, explanation_id: str, request: JsonObject) -> JsonObject:
    asked = MetricsRequest.model_validate(request)
    record = context.store.read(explanation_id)
    if record is None or record.state is None:
        raise RiseError("not-found", f"there is no map of explanation {explanation_id!r}")
    image = decode(context.blobs.get(image_blob(record.id)))
    model, study = load_and_plan(context, record, image)
    arrays = [context.blobs.get_array(checkpoint.blob) for checkpoint in record.state.checkpoints]
    row, frame = record.state.target_rows[asked.target], frame_of_image(image.width, image.height)
    drawn = draw(record.state, arrays, row, frame)
    with model_call(model.id):
        return measure_map(model.black_box, image, study, drawn, asked)
