"""Batches: many images, one question, one resource."""

import re
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import IO, Annotated, NamedTuple

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from app.api.dependencies import Explainer, Reader, ServicesDep, existing_batch
from app.api.idempotency import Claim, IdempotencyKey, payload_of_batch, submit_once
from app.api.openapi_components import ACCEPTED, BATCH_BODY, PROBLEMS
from app.api.request_body import form_fields, media_type_of, read_json, sent_parts, unsupported
from app.auth.principal import Principal
from app.batches.annotations import (
    SurveyOptions,
    join_annotations,
    read_annotations,
    read_survey_options,
    require_coco,
    require_surveyable,
)
from app.batches.exports.coco import stream_coco
from app.batches.exports.csv_table import stream_csv
from app.batches.exports.label_studio import label_config_of, tasks_of
from app.batches.exports.zip_archive import stream_zip
from app.batches.items import items_of_archive, items_of_list
from app.batches.store import BatchItem, BatchRecord
from app.batches.views import BatchView, ItemView, view_of_batch, view_of_item
from app.contract.audits import audit_id
from app.contract.errors import invalid_field, unknown_choice
from app.contract.schemas import JsonObject
from app.contract.storage.object_store import archive_blob, batch_folder
from app.contract.tracing import request_context
from app.explanations.root_path import root_path
from app.rendering.formats import formats
from app.services import Services

router = APIRouter(prefix="/v1/batches", tags=["batches"], responses=PROBLEMS)

_ENDING = f" *({'|'.join(re.escape(ending) for ending in sorted(formats()))}) *"
_ENDINGS = f"^{_ENDING}(,{_ENDING})*$"
_FILES = ("archive", "annotations")
_MAX_FIELDS = 40
_MAX_PART_BYTES = 1_000_000


class BatchSubmission(NamedTuple):
    """The fields of a request for a batch, its archive, if the images are in one, and the file of annotations.

    In a JSON body the annotations are a field.
    """

    fields: JsonObject
    archive: IO[bytes] | None = None
    annotations: IO[bytes] | None = None


@router.post(
    "",
    status_code=202,
    operation_id="createBatch",
    openapi_extra=BATCH_BODY,
    responses={202: {"headers": ACCEPTED}},
)
async def create(
    request: Request,
    response: Response,
    services: ServicesDep,
    caller: Explainer,
    idempotency_key: IdempotencyKey = None,
) -> BatchView:
    """Ask one question about many images: a zip archive, or a list of addresses or ids.

    With `annotations`, a COCO file or an object in JSON, each image is explained for the classes that are annotated in
    it, of a detector for its objects, 20 at most (`annotations.unexplained` counts the others), or for what the model
    says (`explain=predicted`), and `GET /v1/batches/{batch_id}/report` tells of shortcuts.

    The answer comes at once; images are read, checked and queued little by little. One that is refused or fails does
    not stop the others.
    """
    media_type = media_type_of(request)
    if media_type == "multipart/form-data":
        async with request.form(max_files=2, max_fields=_MAX_FIELDS, max_part_size=_MAX_PART_BYTES) as form:
            parts = sent_parts(form)
            files = (_file(dict(parts), name) for name in _FILES)
            submission = BatchSubmission(form_fields(parts, files=_FILES), *files)
            batch_view = await _create_once(services, caller, submission, idempotency_key)
    elif media_type == "application/json":
        batch_view = await _create_once(services, caller, BatchSubmission(await read_json(request)), idempotency_key)
    else:
        raise unsupported(media_type)
    response.headers["Location"] = batch_view.links["self"]
    response.headers["Retry-After"] = "1"
    return batch_view


def _file(form: Mapping[str, str | UploadFile], name: str) -> IO[bytes] | None:
    file = form.get(name)
    if isinstance(file, str):
        raise invalid_field(f"/{name}", "send it as a file")
    return None if file is None else file.file


async def _create_once(
    services: Services, caller: Principal, submission: BatchSubmission, key: str | None
) -> BatchView:
    """Create a batch, or return the one that the same request with the same key has created."""
    if key is None:
        return await run_in_threadpool(_create, services, caller, submission, uuid.uuid4().hex)
    payload = await run_in_threadpool(payload_of_batch, submission.fields, submission[1:])
    claim = Claim(services.idempotency, caller.tenant, key, payload)
    return await submit_once(
        claim,
        find=lambda batch_id: run_in_threadpool(_existing_view, services, batch_id),
        submit=lambda: run_in_threadpool(_create, services, caller, submission, claim.resource_id),
        id_of=lambda made: made.id,
    )


def _existing_view(services: Services, batch_id: str) -> BatchView | None:
    batch = services.batches.read(batch_id)
    return None if batch is None else view_of_batch(batch, services.batches)


def _create(services: Services, caller: Principal, submission: BatchSubmission, batch_id: str) -> BatchView:
    fields, archive = dict(submission.fields), submission.archive
    given = fields.pop("images", None)
    if (given is None) == (archive is None):
        raise invalid_field("/images", "send an archive, or else a list of images")
    annotations = _annotations_of(submission, fields)
    options = read_survey_options(fields) if annotations is not None else None
    command = services.commands.read(fields, caller)
    if (batch_view := _existing_view(services, batch_id)) is not None:
        return batch_view
    batch = BatchRecord(
        id=batch_id,
        tenant=caller.tenant,
        key=caller.key,
        limits=caller.limits,
        request=command.resolved.request,
        callback=command.callback_url,
        explain=options.explain if options else None,
        audit=command.audit,
        total=0,
        created_at=datetime.now(UTC),
        origin=request_context(),
    )
    members = (
        items_of_list(given, services.settings) if archive is None else items_of_archive(archive, services.settings)
    )
    if options is not None and annotations is not None:
        batch, members = _annotated(services, batch, members, annotations, options)
    if archive is not None:
        archive.seek(0)
        services.blobs.put_file(archive_blob(batch.id), archive)
    return _store(services, batch, members)


def _annotations_of(submission: BatchSubmission, fields: JsonObject) -> JsonObject | None:
    """Return the annotations of a file, or take them out of the fields of a JSON body."""
    given = fields.pop("annotations", None)
    if submission.annotations is not None:
        return read_annotations(submission.annotations)
    return None if given is None else require_coco(given)


def _annotated(
    services: Services, batch: BatchRecord, members: list[BatchItem], data: JsonObject, options: SurveyOptions
) -> tuple[BatchRecord, list[BatchItem]]:
    """Return a batch and its items with annotations, which are stored."""
    require_surveyable(batch.request)
    labels = services.catalogue.now().labels_of(batch.request.model)
    joined = join_annotations(data, members, labels, options.categories)
    joined.store(services.blobs, batch.id, len(members))
    summary, method = joined.summary, batch.request.method
    if options.explain == "annotated":
        members = [joined.with_targets(item, method) for item in members]
        summary = summary.model_copy(update={"unexplained": joined.unexplained(method)})
    return batch.model_copy(update={"annotations": summary}), members


def _store(services: Services, empty: BatchRecord, members: list[BatchItem]) -> BatchView:
    batch = empty.model_copy(update={"total": len(members)})
    if not services.batches.create(batch, members):
        batch = services.batches.read(batch.id) or batch
    return view_of_batch(batch, services.batches)


@router.get("/{batch_id}", operation_id="getBatch")
def read(batch_id: str, services: ServicesDep, caller: Reader) -> BatchView:
    """Return a batch: how many of its images stand how."""
    return view_of_batch(existing_batch(services, caller, batch_id), services.batches)


@router.get("/{batch_id}/explanations", operation_id="listBatchExplanations")
def explanations(
    batch_id: str,
    response: Response,
    services: ServicesDep,
    caller: Reader,
    limit: Annotated[int, Query(ge=1, le=200, description="Most images of one page.")] = 50,
    after: Annotated[int, Query(ge=-1, description="Index after which the page begins; `Link` has the next.")] = -1,
) -> list[ItemView]:
    """Return the images of a batch with their explanations or problems, in the order in which they came."""
    batch = existing_batch(services, caller, batch_id)
    last = min(after + limit, batch.total - 1)
    if last < batch.total - 1:
        query = f"limit={limit}&after={last}"
        response.headers["Link"] = f'<{root_path()}/v1/batches/{batch.id}/explanations?{query}>; rel="next"'
    return [
        _member(services, batch, member) for member in services.batches.members(batch.id, range(after + 1, last + 1))
    ]


def _member(services: Services, batch: BatchRecord, member: BatchItem) -> ItemView:
    if member.explanation is None:
        return view_of_item(batch, member, None)
    record, audit = services.store.read_many([member.explanation, audit_id(member.explanation)])
    return view_of_item(batch, member, record, audit)


@router.get(
    "/{batch_id}/archive",
    operation_id="getBatchArchive",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/zip": {}}}},
)
def archive(
    batch_id: str,
    services: ServicesDep,
    caller: Reader,
    formats_: Annotated[
        str,
        Query(
            alias="formats",
            description="Endings of the maps' formats, with commas.",
            examples=["npz,png"],
            json_schema_extra={"pattern": _ENDINGS},  # not checked by it, because a problem shall name the choices
        ),
    ] = "npz,overlay.png",
) -> StreamingResponse:
    """Return the maps of all images that have them as one zip archive, with a `manifest.json` that lists every image.

    It is made while it is sent; while the batch runs, it holds what there is.
    """
    batch = existing_batch(services, caller, batch_id)
    endings = [ending.strip(" ") for ending in formats_.split(",")]
    unknown = next((ending for ending in endings if ending not in formats()), None)
    if unknown is not None:
        raise unknown_choice("/formats", unknown, list(formats()))
    content = stream_zip(batch, services.batches, services.store, services.renderer, endings)
    return StreamingResponse(content, media_type="application/zip", headers=_saved_as(batch, "zip"))


@router.get(
    "/{batch_id}/coco.json",
    operation_id="getBatchAsCoco",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/json": {"schema": {"type": "object"}}}}},
)
def coco(
    batch_id: str,
    services: ServicesDep,
    caller: Reader,
    level: Annotated[float, Query(gt=0, le=1, description="Share of the positive saliency that a region holds.")] = 0.5,
) -> StreamingResponse:
    """Return the region of each target as one COCO data set: run-length encoded masks with scores.

    The members of `annotations` are those of a COCO results file. `info` lists the images that have no map. It is made
    while it is sent; while the batch runs, it holds what there is.
    """
    batch = existing_batch(services, caller, batch_id)
    content = stream_coco(batch, services.batches, services.store, services.renderer, level=level)
    return StreamingResponse(content, media_type="application/json", headers=_saved_as(batch, "coco.json"))


@router.get(
    "/{batch_id}/targets.csv",
    operation_id="getBatchAsCsv",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/csv": {}}}},
)
def targets(batch_id: str, services: ServicesDep, caller: Reader) -> StreamingResponse:
    """Return a table with a row for each target: score, box, peak, reliability, and its evidence in figures and words.

    An image without a target has one row, with its status and error. It is made while it is sent; while the batch runs,
    it holds what there is.
    """
    batch = existing_batch(services, caller, batch_id)
    content = stream_csv(batch, services.batches, services.store)
    return StreamingResponse(content, media_type="text/csv; charset=utf-8", headers=_saved_as(batch, "csv"))


@router.get(
    "/{batch_id}/label-studio.json",
    operation_id="getBatchForLabelStudio",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/json": {"schema": {"type": "array", "items": {"type": "object"}}}}}},
)
def label_studio(
    batch_id: str,
    services: ServicesDep,
    caller: Reader,
    prefix: Annotated[
        str,
        Query(
            max_length=1000,
            description="What stands before the name of a file to make the address at which Label Studio has it.",
            examples=["/data/local-files/?d=photos/"],
        ),
    ] = "",
) -> StreamingResponse:
    """Return the images as tasks for Label Studio to import, with predictions: class or boxes, and masks at two levels.

    The labelling interface that fits is at `label-config.xml`. It is made while it is sent. Where a report is made of
    an annotated batch, suspicious images come first, and each has its figures: `inside`, `suspicious`, `cluster`.
    """
    batch = existing_batch(services, caller, batch_id)
    report = services.surveys.report(batch) if batch.annotations is not None else None
    content = tasks_of(batch, services.batches, services.store, services.renderer, report, prefix=prefix)
    return StreamingResponse(content, media_type="application/json", headers=_saved_as(batch, "label-studio.json"))


@router.get(
    "/{batch_id}/label-config.xml",
    operation_id="getBatchLabelConfig",
    response_class=Response,
    responses={200: {"content": {"application/xml": {}}}},
)
def label_config(batch_id: str, services: ServicesDep, caller: Reader) -> Response:
    """Return the labelling interface of Label Studio for the tasks of a batch."""
    batch = existing_batch(services, caller, batch_id)
    labels = services.catalogue.now().labels_of(batch.request.model)
    content = label_config_of(batch, services.batches, services.store, labels=labels)
    return Response(content, media_type="application/xml")


def _saved_as(batch: BatchRecord, ending: str) -> dict[str, str]:
    return {"Content-Disposition": f"attachment; filename=batch-{batch.id}.{ending}"}


@router.post("/{batch_id}/cancel", status_code=202, operation_id="cancelBatch")
def cancel(batch_id: str, services: ServicesDep, caller: Explainer) -> BatchView:
    """Stop a batch: what waits is not queued, what it has queued or running is cancelled, what has ended stays.

    Explanations that were there before the batch asked for them are not the batch's to cancel.
    """
    batch = services.batches.cancel(existing_batch(services, caller, batch_id))
    for explanation_id in _made(services.batches.members(batch.id, range(batch.total))):
        services.remover.cancel(explanation_id)
    return view_of_batch(batch, services.batches)


@router.delete("/{batch_id}", status_code=204, operation_id="deleteBatch")
def delete(batch_id: str, services: ServicesDep, caller: Explainer) -> None:
    """Remove a batch with the explanations that it made, now."""
    batch = existing_batch(services, caller, batch_id)
    for explanation_id in _made(services.batches.delete(batch.id)):
        services.remover.delete(explanation_id)
    services.blobs.discard(batch_folder(batch.id))


def _made(members: Iterable[BatchItem]) -> list[str]:
    """Return the explanations that a batch made, of those of its members."""
    return [member.explanation for member in members if member.explanation and member.created]
