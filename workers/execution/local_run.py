"""One explanation without a server: plan, checkpoints and results as in the worker's task, written to a folder."""

import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from PIL import Image
from pydantic import ValidationError

from app.contract.errors import RiseError, unknown_choice
from app.contract.images.decoding import FORMATS, decode, open_image, scaling
from app.contract.schemas import (
    AuditResult,
    CanonicalRequest,
    ExplanationParams,
    ExplanationRecord,
    ImageInfo,
    JsonObject,
    ModelRef,
    Progress,
    Status,
)
from app.contract.storage.object_store import BlobStore, image_blob
from workers.audit.conclusion import conclude
from workers.audit.plan import audit_plan
from workers.audit.white_box import grad_cam_of
from workers.evidence.gathering import gather
from workers.execution.checkpoints import CheckpointWriter
from workers.execution.results import finished_targets, progress, provenance, require_any_target, with_scale
from workers.explainer.convergence import Convergence
from workers.explainer.parameters import MaskingParameters
from workers.explainer.plan import ExplanationPlan, build_plan
from workers.methods import default_method, method, method_names
from workers.registry.model_registry import LoadedModel
from workers.supervision.current_attempt import model_call

_ID = "local"


def explain_locally(
    model: LoadedModel, content: bytes, fields: JsonObject, folder: Path, report: Callable[[Progress], None]
) -> ExplanationRecord:
    """Explain an image; write the image and its effects below a folder, named as in the service's object store.

    Args:
        model: what is explained.
        content: an encoded image.
        fields: of a request, without the image.
        folder: an existing folder.
        report: called after every block.

    Raises:
        RiseError: for whatever is wrong with the request, the image or the model.
    """
    params, name, parameters = _parse_request(fields, model)
    image, original = decode(content), open_image(content)
    original.load()
    plan = build_plan(model.black_box, image, method(name), parameters, params.targets, batch=model.batch)
    blobs = BlobStore(folder.absolute().as_uri())
    blobs.put(image_blob(_ID), content)
    now = datetime.now(UTC)
    record = ExplanationRecord(
        id=_ID,
        request=CanonicalRequest(
            model=ModelRef(id=model.id, digest=model.digest),
            method=name,
            targets=params.targets,
            parameters=parameters.model_dump(mode="json"),
        ),
        image=ImageInfo(
            width=image.width,
            height=image.height,
            sha256=hashlib.sha256(content).hexdigest(),
            media_type=FORMATS[original.format or ""],
            scaled=scaling(original),
        ),
        status=Status.SUCCEEDED,
        created_at=now,
        started_at=now,
        expires_at=now,
    )
    explained = record.model_copy(update=_run(model, plan, blobs, report))
    if not params.audit:
        return explained
    return explained.model_copy(update={"audit": _audited(model, image, plan, explained.consistency)})


def _audited(model: LoadedModel, image: Image.Image, plan: ExplanationPlan, consistency: float | None) -> AuditResult:
    """Return what an audit finds; the blocks of the own fill are computed again."""
    with model_call(model.id):
        audit = audit_plan(plan, model.black_box, image)
        blocks = {name: list(view.run()) for name, view in audit.views.items()}
        found = conclude(audit, blocks, grad_cam_of(audit), earlier_consistency=consistency)
    passes = sum(view.blocks * view.block_size for view in audit.views.values())
    return found.model_copy(update={"passes": passes + found.passes})


def _parse_request(fields: JsonObject, model: LoadedModel) -> tuple[ExplanationParams, str, MaskingParameters]:
    common = {name: value for name, value in fields.items() if name in ExplanationParams.model_fields}
    from_effects = {name: value for name, value in fields.items() if name not in ExplanationParams.model_fields}
    try:
        params = ExplanationParams.model_validate(common)
        name = _method_name(params, model)
        schema = method(name).Parameters
        by_default = {"fill": model.default_fill} if "fill" in schema.model_fields else {}
        return params, name, schema.model_validate(by_default | from_effects)
    except ValidationError as cause:
        words = "; ".join(f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in cause.errors())
        raise RiseError("invalid-parameters", words) from cause


def _method_name(params: ExplanationParams, model: LoadedModel) -> str:
    name = params.method or default_method(model.task)
    if name not in method_names():
        raise unknown_choice("/method", name, method_names())
    if model.task not in method(name).TASKS:
        raise RiseError("invalid-parameters", f"method: {name} does not explain {model.task}")
    return name


def _run(model: LoadedModel, plan: ExplanationPlan, blobs: BlobStore, report: Callable[[Progress], None]) -> JsonObject:
    """Return the fields of the record that hold the result."""
    convergence, started = Convergence(plan), time.monotonic()
    writer = CheckpointWriter(blobs, _ID, "local", plan.state(), checkpoint_seconds=1.0)
    for block in plan.run():
        convergence.add(block)
        writer.add(block)
        masks = convergence.blocks * plan.block_size
        latest = progress(plan, convergence, masks_per_second=masks / max(time.monotonic() - started, 1e-6))
        report(latest)
        if writer.due:
            writer.checkpoint()
            writer.stored()
        if convergence.reached():
            break
    targets = finished_targets(plan, convergence)
    require_any_target(targets)
    with model_call(model.id):
        evidence = gather(plan, convergence)
    state = with_scale(writer.last_checkpoint(), plan, convergence)
    writer.stored(is_last=True)
    return {
        "finished_at": datetime.now(UTC),
        "progress": latest,
        "targets": evidence.added_to(targets) if evidence else targets,
        "consistency": evidence.consistency if evidence else None,
        "state": state,
        "provenance": provenance(
            model.black_box, plan, convergence, evidence_passes=evidence.passes if evidence else 0
        ),
    }
