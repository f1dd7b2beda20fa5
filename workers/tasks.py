"""What jobs do: `explain`, `predict` and `measure`. With `execution.py` the only code that knows Redis and tensors."""

import logging
import time
import uuid

from rq import Retry
from rq.timeouts import JobTimeoutException

from app.contract.blobs import image_blob
from app.contract.drawing import draw
from app.contract.errors import RiseError
from app.contract.geometry import frame_of_image
from app.contract.images import decode
from app.contract.logs import belonging, names_in
from app.contract.schemas import Failure, JsonObject, MetricsRequest, Record
from app.contract.tracing import span
from workers.attempt import BrokenDeviceError, Stopped
from workers.blame import blaming
from workers.execution import Context, Execution, Superseded, hand_back, prepared
from workers.measurement import measure as measure_map
from workers.prediction import predict_image

logger = logging.getLogger(__name__)

_LOST = Failure(
    code="storage-unavailable",
    detail="its image, or a part of its effects, is not in the storage any more; send the request again",
)


def explain(context: Context, explanation_id: str) -> Retry | None:
    """Run one explanation from its first missing block to its end.

    Returns:
        None when there is nothing more to do, whatever the outcome; a `Retry` hands the job back because this worker
        is stopping. What the model did wrong is stored on the explanation, and so is an outage of the object store
        that was waited for in vain; a Redis server that does not come back is raised, and RQ tries again.
    """
    execution = uuid.uuid4().hex
    record = context.store.start(explanation_id, execution)
    if record is None:
        return None
    names = names_in(record.origin)
    model, method = record.request.model.id, record.request.method
    with (
        belonging(explanation=explanation_id, **names),
        span("explain", record.origin, explanation=explanation_id, model=model, method=method),
    ):
        return _run(context, record, execution)


def _run(context: Context, record: Record, execution: str) -> Retry | None:
    explanation_id, started = record.id, time.monotonic()
    try:
        retry = Execution(context, record, execution).to_the_end()
    except Superseded:
        logger.info("explanation %s was cancelled or taken over", explanation_id)
    except Stopped:
        return hand_back()
    except FileNotFoundError:
        context.store.fail(explanation_id, _LOST, execution=execution)
    except BrokenDeviceError:
        raise  # because RQ tries again, in another process
    except RiseError as error:
        logger.warning("explanation %s failed: %s", explanation_id, error.detail)
        context.store.fail(explanation_id, Failure(code=error.code, detail=error.detail), execution=execution)
    except JobTimeoutException as error:
        context.store.fail(explanation_id, Failure(code="timed-out", detail=str(error)), execution=execution)
    else:
        words = "handed back" if retry else "succeeded"
        logger.info("explanation %s %s after %.1f s", explanation_id, words, time.monotonic() - started)
        return retry
    return None


def predict(context: Context, model_id: str, blob: str, limit: int) -> JsonObject:
    """Return as `found` what a model sees in an image, strongest first; or `code` and `detail` of what went wrong."""
    try:
        model = context.models.get(model_id)
        image = decode(context.blobs.get(blob))
        with blaming(model_id):
            found = predict_image(model.black_box, image, limit=limit)
    except RiseError as error:
        return {"code": error.code, "detail": error.detail}
    except FileNotFoundError:
        return _LOST.model_dump()
    return {"found": [prediction.model_dump(mode="json") for prediction in found]}


def measure(context: Context, explanation_id: str, request: JsonObject) -> JsonObject:
    """Return as `found` the metrics of a finished explanation; or `code` and `detail` of what went wrong."""
    try:
        return {"found": _measured(context, explanation_id, MetricsRequest.model_validate(request))}
    except Stopped:
        return {"code": "busy", "detail": "the worker is leaving; ask again"}
    except RiseError as error:
        return {"code": error.code, "detail": error.detail}
    except FileNotFoundError:
        return _LOST.model_dump()


def _measured(context: Context, explanation_id: str, asked: MetricsRequest) -> JsonObject:
    record = context.store.read(explanation_id)
    if record is None or record.state is None:
        raise RiseError("not-found", f"there is no map of explanation {explanation_id!r}")
    image = decode(context.blobs.get(image_blob(record.id)))
    model, study = prepared(context, record, image)
    arrays = [context.blobs.get_array(checkpoint.blob) for checkpoint in record.state.checkpoints]
    row, frame = record.state.target_rows[asked.target], frame_of_image(image.width, image.height)
    drawn = draw(record.state, arrays, row, frame)
    with blaming(model.id):
        return measure_map(model.black_box, image, study, drawn, asked)
