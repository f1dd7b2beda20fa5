"""Values that a newer version of the service wrote: what is not known of them here keeps nothing from being read."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from redis import Redis
from rq.job import Job
from rq.registry import StartedJobRegistry

from app.auth.api_keys import ApiKey, ApiKeyStore, Limits
from app.batches.store import AnnotationSummary, BatchItem, BatchRecord, BatchStore, EntryError
from app.contract.errors import RiseError
from app.contract.explanations.store import ExplanationStore
from app.contract.explanations.webhook_subscriptions import WebhookDelivery, WebhookSubscriptions
from app.contract.redis.keys import record_key
from app.contract.schemas import (
    Announcement,
    Assumption,
    AuditCheck,
    AuditResult,
    CanonicalRequest,
    CanvasInfo,
    Checkpoint,
    Evidence,
    ExplanationParams,
    ExplanationRecord,
    Failure,
    FillScore,
    HiddenCells,
    ImageInfo,
    LeastRelevantFirst,
    MaskedView,
    MethodCard,
    MetricResult,
    MetricsRequest,
    ModelCard,
    ModelRef,
    Prediction,
    Progress,
    Provenance,
    State,
    Status,
    StoredModel,
    TargetRequest,
    TargetResult,
    TargetSpec,
)
from app.contract.survey import (
    AnnotatedObject,
    AnnotationChunk,
    CaseFigures,
    ClusterReport,
    ImageAnnotation,
    LabelReport,
    LeftOut,
    RunLengths,
    SurveyCase,
    SurveyImage,
    SurveyReport,
)
from app.contract.worker_registry import announce, announcements
from app.explanations.catalogue import Catalogue, complete_parameters
from app.explanations.idempotency_keys import IdempotencyKeys
from app.explanations.listing import Listing
from app.images.upload_register import Upload, UploadRegister
from app.integrations.label_studio.backend import TaskJob
from app.integrations.label_studio.delayed_tasks import DelayedTask, DelayedTasks
from app.label_studio_format.controls import Control, Label, LabelingConfig
from app.rendering.renderer import target_at
from app.webhooks.outbox import Outbox
from workers.execution.shards import Shard, ShardQueue
from workers.execution.shards import ShardResult as DeliveredShard
from workers.supervision.retry_policy import AttemptLog
from workers.supervision.watchdog import CrashContext, collect_crash_reports, write_crash_context

NOW = datetime.now(UTC)
IMAGE = ImageInfo(width=8, height=8, sha256="0", media_type="image/png")
FAILURE = Failure(code="timed-out", detail="it took too long")
EVIDENCE = Evidence(
    fidelity=0.9,
    interaction_share=0.1,
    least_relevant_first=LeastRelevantFirst(
        cells=32, drop=0.0, random=0.5, steps=[HiddenCells(cells=6, drop=0.0, random=0.1)]
    ),
    fill_score=FillScore(target=0.0, top_class="dog", probability=0.2),
    sentences=["It adds up."],
)
REQUEST = CanonicalRequest(
    model=ModelRef(id="m", digest="d"),
    method="rise",
    targets=[TargetSpec(label="cat", box=(0, 0, 4, 4))],
    parameters={"masks": 100},
)
RECORD = ExplanationRecord(
    id="one",
    request=REQUEST,
    image=IMAGE,
    status=Status.SUCCEEDED,
    finished_at=NOW,
    created_at=NOW,
    expires_at=NOW,
    origin={"request": "r"},
    progress=Progress(masks=1, total=2),
    targets=[TargetResult(index=0, label=1, name="cat", score=0.5, error=FAILURE, evidence=EVIDENCE)],
    consistency=0.0,
    state=State(
        kind="effects",
        canvas=CanvasInfo(height=8, width=8, grid=(2, 2), view=(0, 0, 8, 8)),
        seed=0,
        rows=[0],
        target_rows=[0],
        fills=["black"],
        checkpoints=[Checkpoint(blob="b", first=0, count=1)],
    ),
    provenance=Provenance(
        version="0", device="cpu", precision="float32", seed=0, masks_used=128, blocks=1, stopped="all-masks"
    ),
    views=[
        MaskedView(
            name="grey",
            parameters={"fill": "grey"},
            state=State(
                kind="effects",
                canvas=CanvasInfo(height=8, width=8, grid=(2, 2), view=(0, 0, 8, 8)),
                seed=0,
                rows=[0],
                target_rows=[0],
                fills=["grey"],
            ),
        )
    ],
    audit=AuditResult(
        verdict="caution",
        passes=1000,
        checks=[AuditCheck(check="resolution", verdict="caution", value=0.5, sentence="s", details={"a": 1})],
        limits="l",
    ),
    error=FAILURE,
)
METHOD = MethodCard(
    id="rise",
    summary="s",
    tasks=["classification"],
    default_for=["classification"],
    parameters={"properties": {"masks": {"type": "integer", "default": 100}}},
)
ANNOUNCEMENT = Announcement(
    worker="w",
    queue="q",
    version="0",
    device="cpu",
    memory_bytes={"used": 1},
    models=[
        ModelCard(
            id="m",
            task="classification",
            labels=["dog", "cat"],
            digest="d",
            state="ready",
            assumptions=[Assumption.model_validate({"what": "task", "value": "classification", "from": "entry"})],
        )
    ],
    methods=[METHOD],
    fills=["black"],
)
BATCH = BatchRecord(
    id="batch",
    tenant="public",
    limits=Limits(max_pending=3),
    request=REQUEST,
    total=1,
    annotations=AnnotationSummary(images=1, objects=1, error_count=1, errors=[EntryError(field="/f", detail="d")]),
    created_at=NOW,
    origin={"request": "r"},
)
MEMBER = BatchItem(index=0, name="a", kind="url", source="http://x", explanation="one", error=FAILURE)
KEY = ApiKey(name="n", tenant="t", scopes=["read"], limits=Limits(max_pending=3), created_at=NOW)
ERRAND = TaskJob(
    task=1,
    address="a",
    field="/f",
    layout=LabelingConfig(
        image="i", field="f", choices=Control(name="c", labels=[Label(value="cat", predicted=["Cat"])])
    ),
    request=REQUEST,
    tenant="t",
    key=None,
    limits=Limits(),
    priority="batch",
)
MASK = RunLengths(height=1, width=2, counts=[1, 1])
ANNOTATED = ImageAnnotation(index=0, objects=[AnnotatedObject(label=1, box=(0, 0, 2, 1), runs=MASK)])
ANNOTATIONS = AnnotationChunk(images=[ANNOTATED])
SURVEY = SurveyReport(
    images=2,
    sentences=["Nothing."],
    labels=[LabelReport(name="cat", label=1, images=1, recognised=1)],
    clusters=[
        ClusterReport(
            label="cat",
            images=1,
            share=1,
            alignment="picture",
            stability=1,
            place="middle of the picture",
            mean_map=[[1.0]],
            members=[0],
        )
    ],
    left_out=[LeftOut(index=1, name="b", reason="it has no annotation")],
    cases=[
        SurveyCase(
            index=0,
            name="a",
            explanation="one",
            target=0,
            label=1,
            label_name="cat",
            predicted="cat",
            annotated=True,
            recognised=True,
            box=(0, 0, 2, 1),
            inside=0.5,
            area=0.5,
            hit=True,
            whole=0.9,
            objects_alone=0.9,
            background_alone=0.1,
            nothing=0.0,
        )
    ],
)
DELIVERY = WebhookDelivery(id="msg", explanation="one", url="http://x", error=FAILURE)
VALUES: list[StoredModel] = [
    RECORD,
    ANNOUNCEMENT,
    BATCH,
    MEMBER,
    KEY,
    ERRAND,
    DELIVERY,
    DelayedTask(id="p", content={"task": 1}, made_at=NOW),
    Upload(id="u", tenant="t", image=IMAGE, size=1, created_at=NOW, expires_at=NOW),
    Prediction(label=1, name="cat", score=0.5),
    MetricResult(value=0.5, protocol={"steps": 64}),
    ANNOTATIONS,
    SURVEY,
    CaseFigures(inside=0.5),
    SurveyImage(index=0, name="a", explanation="one"),
]
_FREE = {"parameters", "content", "origin", "memory_bytes", "protocol", "curve", "details"}  # which hold any names


def parts(value: BaseModel) -> Iterator[BaseModel]:
    """Yield a value and all values in it."""
    yield value
    for name in type(value).model_fields:
        inner = getattr(value, name)
        for part in inner if isinstance(inner, list) else [inner]:
            if isinstance(part, BaseModel):
                yield from parts(part)


def extended(value: Any) -> Any:
    """Return JSON with one more field in each of its objects."""
    if isinstance(value, list):
        return [extended(part) for part in value]
    if not isinstance(value, dict):
        return value
    known = {name: part if name in _FREE else extended(part) for name, part in value.items()}
    return {**known, "added": {"by": "a newer version"}}


def extend_all(redis: Redis) -> int:
    """Extend every JSON object in every string and hash, and every record; return how many."""
    extensions = 0
    for key in redis.scan_iter("*"):
        kind = redis.type(key)
        text: Any = redis.get(key) if kind == b"string" else b""
        if text.startswith(b"{"):
            extensions += 1
            redis.set(key, json.dumps(extended(json.loads(text))), keepttl=True)
        elif kind == b"hash":
            fields: Any = redis.hgetall(key)
            for name, text in fields.items():
                if text.startswith((b"{", b"[{")) and name.decode() not in _FREE:
                    extensions += 1
                    redis.hset(key, name, json.dumps(extended(json.loads(text))))
    redis.hset(record_key(RECORD.id), "added", json.dumps({"by": "a newer version"}))
    return extensions


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_fields_that_are_not_known_are_passed_over_at_every_level(value: StoredModel) -> None:
    text = json.dumps(extended(value.model_dump(mode="json")))
    assert type(value).model_validate_json(text) == value
    assert type(value).model_validate(json.loads(text)) == value


def test_every_kind_of_value_that_both_processes_read_is_among_those_tried() -> None:
    tried = {type(part) for value in VALUES for part in parts(value)}
    kinds = [StoredModel]
    for kind in kinds:
        kinds += kind.__subclasses__()
    read = {kind for kind in kinds if kind.__module__.startswith("app.contract.") and issubclass(kind, StoredModel)}
    assert read - {StoredModel, TargetRequest} <= tried


def test_everything_in_redis_is_read_as_before_with_fields_added(redis: Redis) -> None:
    store, batches = ExplanationStore(redis, keep_seconds=600), BatchStore(redis, keep_seconds=600)
    callbacks = WebhookSubscriptions(redis, keep_seconds=600)
    uploads, tasks, shards = UploadRegister(redis, keep_seconds=600), DelayedTasks(redis, "p"), ShardQueue(redis)
    losses = AttemptLog(redis, StartedJobRegistry("q", connection=redis))
    store.create(RECORD)
    announce(redis, ANNOUNCEMENT, seconds=600)
    callbacks.register(RECORD.id, "http://receiver.test")
    batches.create(BATCH, [MEMBER])
    uploads.keep(Upload(id="u", tenant="t", image=IMAGE, size=1, created_at=NOW, expires_at=NOW))
    tasks.schedule(DelayedTask(id="p", content=ERRAND.model_dump(mode="json")), seconds=0)
    secret = ApiKeyStore(redis).add(KEY)
    shards.submit(RECORD.id, DeliveredShard(Shard(0, 1), "blob", [[1.0]], "w"))
    IdempotencyKeys(redis).settle("t", "key", "payload", RECORD.id)
    redis.hset(Job.key_for("job"), "id", "job")
    losses.record_failure("job", "1", FAILURE)

    def read() -> list[Any]:
        return [
            store.read(RECORD.id),
            Listing(redis, store).page(RECORD.tenant, limit=9, status=None, model=None),
            announcements(redis),
            callbacks.of(RECORD.id),
            batches.read(BATCH.id),
            batches.members(BATCH.id, [0]),
            batches.statuses([MEMBER]),
            uploads.read("u"),
            ApiKeyStore(redis).find(secret),
            ApiKeyStore(redis).all(),
            shards.results(RECORD.id, "w", limit=1),
            IdempotencyKeys(redis).claim("t", "key", "payload"),
            losses.failures("job"),
        ]

    before = read()
    assert before[0] == RECORD
    assert extend_all(redis) == 19
    assert read() == before
    assert [attempt.delivery.attempts for attempt in Outbox(redis).lease(1, seconds=1)] == [1]
    (leased,) = tasks.lease(1, seconds=1)
    assert TaskJob.model_validate(leased.task.content) == ERRAND
    assert batches.delete(BATCH.id) == [MEMBER]


def test_what_a_worker_left_behind_is_read_with_fields_added(tmp_path: Path) -> None:
    doing = CrashContext(worker="w", job="j", attempt="2", model="m", seconds=10.0, since=0.0)
    with FileIO(tmp_path / "w.stack", "w") as file:
        write_crash_context(file, doing)
    (path,) = tmp_path.iterdir()
    path.write_text(json.dumps(extended(json.loads(path.read_text()))) + "\nTimeout!\n")
    assert [left.context for left in collect_crash_reports(tmp_path)] == [doing]


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (ExplanationParams, {"model": "m"}),
        (MetricsRequest, {}),
        (TargetRequest, {"label": 1}),
        (ExplanationParams, {"model": "m", "targets": [{"label": 1, "more": 1}]}),
    ],
)
def test_what_a_client_sends_may_hold_nothing_that_is_not_known(kind: type[BaseModel], content: Any) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        kind.model_validate({**content, "more": 1} if "targets" not in content else content)


def announced(redis: Redis, **changes: Any) -> Catalogue:
    """Announce one model with other fields, as JSON, and return the catalogue."""
    content = ANNOUNCEMENT.model_dump(mode="json")
    content["models"][0] |= changes
    announce(redis, ANNOUNCEMENT, seconds=600)
    redis.set("rise:worker:w", json.dumps(content))
    return Catalogue(tuple(announcements(redis)))


def test_a_model_in_a_state_that_is_not_known_is_not_ready_yet(redis: Redis) -> None:
    with pytest.raises(RiseError, match="still loading") as caught:
        announced(redis, state="draining").ready_model("m")
    assert caught.value.retry_after_seconds


def test_a_model_with_a_task_that_is_not_known_is_left_to_a_newer_front_end(redis: Redis) -> None:
    catalogue = announced(redis, task="segmentation")
    with pytest.raises(RiseError, match="no method explains") as caught:
        catalogue.method_for(ExplanationParams(model="m"), catalogue.ready_model("m"))
    assert caught.value.retry_after_seconds


def test_an_announcement_that_cannot_be_read_hides_no_other(redis: Redis) -> None:
    announce(redis, ANNOUNCEMENT.model_copy(update={"worker": "newer"}), seconds=600)
    redis.set("rise:worker:newer", json.dumps({"worker": "newer", "models": "elsewhere"}))
    announce(redis, ANNOUNCEMENT, seconds=600)
    assert announcements(redis) == [ANNOUNCEMENT]


def test_an_explanation_with_a_status_that_is_not_known_has_not_ended(redis: Redis) -> None:
    store = ExplanationStore(redis, keep_seconds=600)
    store.create(RECORD)
    redis.hset(record_key(RECORD.id), "status", '"paused"')
    (listed,) = Listing(redis, store).page(RECORD.tenant, limit=9, status=None, model=None).records
    assert listed.status is Status.RUNNING
    assert BatchStore(redis, keep_seconds=600).statuses([MEMBER]) == [Status.RUNNING]


def test_a_map_that_is_stored_in_a_way_that_is_not_known_is_left_to_a_newer_front_end(redis: Redis) -> None:
    store = ExplanationStore(redis, keep_seconds=600)
    store.create(RECORD)
    assert RECORD.state is not None
    redis.hset(record_key(RECORD.id), "state", json.dumps({**RECORD.state.model_dump(mode="json"), "kind": "wavelets"}))
    record = store.read(RECORD.id)
    assert record is not None
    with pytest.raises(RiseError, match="newer version") as caught:
        target_at(record, 0)
    assert caught.value.retry_after_seconds


@pytest.mark.parametrize("tell", ["event", "state"])
def test_a_delivery_that_cannot_be_read_holds_up_no_other(redis: Redis, tell: str) -> None:
    store, callbacks = ExplanationStore(redis, keep_seconds=600), WebhookSubscriptions(redis, keep_seconds=600)
    store.create(RECORD)
    for host in ("older", "newer"):
        callbacks.register(RECORD.id, f"http://{host}.test")
    key = f"rise:callbacks:{RECORD.id}"
    for name, text in redis.hgetall(key).items():
        if b"newer" in text:
            redis.hset(key, name, json.dumps({**json.loads(text), tell: "paused"}))
    assert [delivery.url for delivery in callbacks.of(RECORD.id)] == ["http://older.test"]
    assert [attempt.delivery.url for attempt in Outbox(redis).lease(9, seconds=1)] == ["http://older.test"]


def test_a_key_keeps_those_of_its_scopes_that_are_known(redis: Redis) -> None:
    secret = ApiKeyStore(redis).add(KEY)
    ((name, text),) = redis.hgetall("rise:keys").items()
    redis.hset("rise:keys", name, json.dumps({**json.loads(text), "scopes": ["read", "annotate"]}))
    found = ApiKeyStore(redis).find(secret)
    assert found is not None
    assert found[1].scopes == ["read"]


@pytest.mark.parametrize("order", [lambda cards: cards, lambda cards: cards[::-1]], ids=["older", "newer"])
def test_while_two_versions_of_a_method_are_served_the_parameters_are_those_that_both_know(
    order: Callable[[list[Announcement]], list[Announcement]],
) -> None:
    parameters = {"properties": {**METHOD.parameters["properties"], "added": {"type": "integer", "default": 1}}}
    newer = ANNOUNCEMENT.model_copy(update={"methods": [METHOD.model_copy(update={"parameters": parameters})]})
    (method,) = Catalogue(tuple(order([ANNOUNCEMENT, newer]))).methods
    assert complete_parameters(method, {}) == {"masks": 100}


def test_only_what_is_asked_for_travels_to_the_worker_that_measures() -> None:
    assert MetricsRequest(steps=8).model_dump(mode="json", exclude_defaults=True) == {"steps": 8}
