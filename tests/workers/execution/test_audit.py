"""The run of an audit: what it computes, where it goes on, when it stops."""

from itertools import count
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from app.contract.audits import audit_id, most_passes
from app.contract.counters import PersistentCounters
from app.contract.explanations.reuse_index import BlockReuseIndex
from app.contract.explanations.store import ExplanationStore
from app.contract.queue.jobs import JobQueue
from app.contract.saliency.tiling import Tiling
from app.contract.schemas import CanonicalRequest, ExplanationRecord, ModelRef, Status
from app.contract.storage.object_store import BlobStore, image_blob
from tests.conftest import SAMPLES
from tests.contract.test_store import a_record
from workers.blackbox import CPU
from workers.execution.run import JobContext
from workers.execution.shards import PeerWorkers, ShardQueue
from workers.explainer import plan
from workers.explainer.block_computer import BlockComputer
from workers.registry.model_registry import ModelRegistry
from workers.saliency.estimators import Block
from workers.supervision.current_attempt import OwnershipLost, ShutdownRequested
from workers.tasks import audit, explain


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> ModelRegistry:
    file = tmp_path_factory.mktemp("models") / "models.toml"
    file.write_text('[clever-hans]\nloader = "python"\nsource = "workers.demo.clever_hans:load"\n')
    models = ModelRegistry(file, CPU)
    models.load_all()
    return models


@pytest.fixture
def context(redis: Redis, models: ModelRegistry, tmp_path: Path) -> JobContext:
    """What a job may use, with an explanation that waits, and its audit."""
    peers = PeerWorkers(
        redis, JobQueue(redis, timeout_seconds=60), ShardQueue(redis), "q", "w", share_after_seconds=100
    )
    context = JobContext(
        store=ExplanationStore(redis, keep_seconds=600),
        blobs=BlobStore((tmp_path / "blobs").as_uri()),
        models=models,
        statistics=PersistentCounters(redis),
        checkpoint_seconds=0,
        peers=peers,
        reuse_index=BlockReuseIndex(redis),
    )
    begin(context, "one")
    return context


def begin(context: JobContext, name: str) -> None:
    """Store an explanation and its audit; neither has run."""
    model = ModelRef(id="clever-hans", digest=context.models.get("clever-hans").digest)
    parameters = {"masks": 512, "until": 1, "grid": 4, "fill": "black"}
    request = CanonicalRequest(model=model, method="rise", targets=None, parameters=parameters)
    for record_id in (name, audit_id(name)):
        context.blobs.put(image_blob(record_id), (SAMPLES / "clever-hans.jpg").read_bytes())
        context.store.create(a_record(record_id).model_copy(update={"request": request}))


def audit_of(context: JobContext, name: str) -> ExplanationRecord:
    record = context.store.read(audit_id(name))
    assert record is not None
    return record


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the blocks that are computed, in order."""
    numbers: list[int] = []
    block = BlockComputer.block

    def counted(self: BlockComputer, number: int) -> Block:
        numbers.append(number)
        return block(self, number)

    monkeypatch.setattr(BlockComputer, "block", counted)
    return numbers


def interrupt(monkeypatch: pytest.MonkeyPatch, *, after: int, by: Exception) -> None:
    """Let an exception end what runs, instead of the report after so many."""
    advance, reports = ExplanationStore.advance, count()

    def interrupted(self: ExplanationStore, *arguments: Any, **options: Any) -> bool:
        if next(reports) == after:
            raise by
        return advance(self, *arguments, **options)

    monkeypatch.setattr(ExplanationStore, "advance", interrupted)


def test_an_audit_uses_the_blocks_of_its_explanation_and_computes_those_of_the_other_views(
    context: JobContext, computed: list[int]
) -> None:
    explain(context, "one")
    computed.clear()
    audit(context, audit_id("one"))
    record = audit_of(context, "one")
    assert record.status is Status.SUCCEEDED, record.error
    assert computed == [0, 1, 0, 1, 0, 1, 0]
    assert [view.name for view in record.views] == ["black", "grey", "blur", "noise", "opacity", "grad-cam"]
    assert [view.state.blocks for view in record.views] == [2, 2, 2, 2, 1, 1]
    assert record.audit is not None
    assert record.progress is not None
    assert record.audit.passes == record.progress.masks <= record.progress.total
    explanation = context.store.read("one")
    assert explanation is not None
    assert most_passes(explanation) == record.progress.total, "which was known beforehand"


def test_an_audit_says_the_same_where_its_explanation_has_not_run(context: JobContext, computed: list[int]) -> None:
    explain(context, "one")
    audit(context, audit_id("one"))
    begin(context, "two")
    computed.clear()
    audit(context, audit_id("two"))
    assert computed == [0, 1, 0, 1, 0, 1, 0, 1, 0]
    assert context.store.status_of("two") is Status.QUEUED
    one, two = audit_of(context, "one").audit, audit_of(context, "two").audit
    assert one is not None
    assert two is not None
    assert two.checks[:-1] == one.checks[:-1]
    assert two.checks[-1].sentence == one.checks[-1].sentence  # its details have the consistency of the explanation
    assert two.passes == one.passes + 2 * 32


def test_an_audit_that_was_interrupted_goes_on_where_it_was_and_says_the_same(
    context: JobContext, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(context, "two")
    audit(context, audit_id("two"))
    for reports, blocks in [(3, 3), (9, 7)]:  # before the third block is stored, then among the probes
        computed.clear()
        with monkeypatch.context() as patch:
            interrupt(patch, after=reports, by=ShutdownRequested())
            assert audit(context, audit_id("one")) is not None, "it is to be queued again"
        assert len(computed) == blocks
        assert audit_of(context, "one").status is Status.RUNNING
    computed.clear()
    audit(context, audit_id("one"))
    assert computed == []
    assert audit_of(context, "one").audit == audit_of(context, "two").audit


def test_blocks_of_other_cells_are_not_continued(
    context: JobContext, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version may choose other tiles where the grid is left to it."""
    begin(context, "two")
    for name, run in [("one", explain), (audit_id("two"), audit)]:
        with monkeypatch.context() as patch:
            interrupt(patch, after=4, by=ShutdownRequested())
            run(context, name)
    monkeypatch.setattr(plan, "_tiling", lambda *_: Tiling((4, 4), ((0, 0),)))
    computed.clear()
    audit(context, audit_id("one"))
    assert computed == [0, 1, 0, 1, 0, 1, 0, 1, 0], "none is the explanation's"
    computed.clear()
    audit(context, audit_id("two"))
    assert computed == [0, 1, 0, 1, 0, 1, 0, 1, 0], "none is its own earlier one"
    computed.clear()
    explain(context, "one")
    assert computed == list(range(32)), "of 16 masks, because there are seven tiles"
    record = context.store.read("one")
    assert record is not None
    assert record.provenance is not None
    assert (record.provenance.grid, record.provenance.tiles) == ((4, 4), 7)


def test_an_audit_that_is_cancelled_ends_at_the_next_block(
    context: JobContext, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    block = BlockComputer.block

    def cancelling(self: BlockComputer, number: int) -> Block:
        context.store.cancel(audit_id("one"))
        return block(self, number)

    monkeypatch.setattr(BlockComputer, "block", cancelling)
    audit(context, audit_id("one"))
    assert computed == [0]
    assert audit_of(context, "one").status is Status.CANCELLED


def test_an_audit_that_is_cancelled_among_the_probes_ends(
    context: JobContext, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch, after=11, by=OwnershipLost())
    audit(context, audit_id("one"))
    assert len(computed) == 9
    assert audit_of(context, "one").error is None


def test_what_makes_an_audit_impossible_is_stored_as_its_error(context: JobContext) -> None:
    record = audit_of(context, "one")
    parameters = {**record.request.parameters, "fill": ["black", "blur"]}
    request = record.request.model_copy(update={"parameters": parameters})
    context.blobs.put(image_blob(audit_id("three")), (SAMPLES / "clever-hans.jpg").read_bytes())
    context.store.create(record.model_copy(update={"id": audit_id("three"), "request": request}))
    audit(context, audit_id("three"))
    error = audit_of(context, "three").error
    assert error is not None
    assert error.code == "invalid-parameters"
