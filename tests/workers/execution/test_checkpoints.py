"""Checkpoints are merged while they come: maps stay the same, objects few, and Redis' log short."""

import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from redis import Redis

from app.contract.counters import PersistentCounters
from app.contract.errors import BlobNotFoundError, StorageError
from app.contract.explanations.reuse_index import BlockReuseIndex
from app.contract.explanations.store import ExplanationStore
from app.contract.queue.jobs import JobQueue
from app.contract.redis.keys import events_key, record_key
from app.contract.saliency.geometry import viewport_of_image
from app.contract.saliency.rendering import SaliencyMap, draw
from app.contract.schemas import CanonicalRequest, CanvasInfo, Checkpoint, ModelRef, State, Status
from app.contract.storage.object_store import BlobStore
from tests.contract.test_store import PROGRESS, a_record
from tests.support.black_boxes import brightness_of, classifier, draw_blocks, noise_image, study_of
from tests.support.environments import free_port
from tests.support.redis_servers import redis_server
from workers.execution.checkpoints import CheckpointWriter
from workers.execution.run import ExplanationRun, JobContext
from workers.execution.shards import PeerWorkers, ShardQueue
from workers.explainer.stored_blocks import pack
from workers.registry.model_registry import LoadedModel, ModelRegistry
from workers.saliency.estimators import Block

HOUR = 3600  # checkpoints
MOST_OBJECTS = 29  # 7 of each of the ranks 0 to 3, and one of rank 4
LOG_BYTES = 10_000_000
EMPTY = State(
    kind="effects",
    canvas=CanvasInfo(height=16, width=16, grid=(2, 2), view=(0, 0, 16, 16)),
    seed=0,
    rows=[0],
    target_rows=[0],
    fills=["black"],
)


class MemoryStore(BlobStore):
    """An object store in memory, which may fail."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.is_down = False

    def put(self, name: str, content: bytes) -> None:
        if self.is_down:
            raise StorageError("down")
        self.objects[name] = content

    def get(self, name: str) -> bytes:
        if self.is_down:
            raise StorageError("down")
        if name not in self.objects:
            raise BlobNotFoundError(name)
        return self.objects[name]

    def delete(self, names: Any) -> None:
        if self.is_down:
            raise StorageError("down")
        for name in names:
            self.objects.pop(name, None)


def block_of(number: int) -> Block:
    effects = np.random.default_rng(number).normal(size=(1, 1, 2, 2)).astype(np.float32)
    return Block(number, 8, effects, np.ones(1, dtype=np.float32))


def drawn(blobs: BlobStore, state: State) -> SaliencyMap:
    names = [checkpoint.blob for checkpoint in state.checkpoints]
    return draw(state, blobs.get_arrays(names), 0, viewport_of_image(16, 16))


def drawn_in_one(blocks: int) -> SaliencyMap:
    """Draw blocks that were never anywhere else."""
    array = np.stack([block_of(number).effects for number in range(blocks)])
    return draw(EMPTY, [array], 0, viewport_of_image(16, 16))


def assert_same(one: SaliencyMap, other: SaliencyMap) -> None:
    assert np.array_equal(one.values, other.values)
    assert one.reliability == other.reliability
    assert (one.standard_error is None) == (other.standard_error is None)
    if one.standard_error is not None and other.standard_error is not None:
        assert np.array_equal(one.standard_error, other.standard_error)


@dataclass
class Run:
    """An explanation whose executions add blocks, write checkpoints, and are lost."""

    blobs: MemoryStore = field(default_factory=MemoryStore)
    stored: State = EMPTY
    before: State = EMPTY
    blocks: int = 0
    _executions: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begin an execution; of the last one there is no more than what was stored."""
        self.writer = CheckpointWriter(
            self.blobs, "one", f"x{next(self._executions)}", self.stored, checkpoint_seconds=0
        )
        self.blocks = sum(1 for _ in self.writer.earlier_effects())

    def add(self, count: int) -> None:
        for _ in range(count):
            self.writer.add(block_of(self.blocks))
            self.blocks += 1

    def checkpoint(self, *, is_last: bool = False) -> None:
        state = self.writer.last_checkpoint() if is_last else self.writer.try_checkpoint()
        if state is not None:
            self.before, self.stored = self.stored, state
            self.writer.stored(is_last=is_last)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 5)),
        st.tuples(st.just("checkpoint"), st.just(0)),
        st.tuples(st.just("lose the worker"), st.integers(0, 1)),
        st.tuples(st.just("storage"), st.integers(0, 1)),
    ),
    max_size=150,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_a_map_is_the_same_to_the_last_bit_however_its_blocks_were_checkpointed_merged_and_resumed(
    steps: list[tuple[str, int]],
) -> None:
    run = Run()
    for step, number in [*steps, ("storage", 1), ("add", 1)]:
        match step:
            case "add":
                run.add(number)
                run.checkpoint()
            case "checkpoint":
                run.checkpoint()
            case "lose the worker" if not run.blobs.is_down:
                if number:  # before what it wrote was stored
                    run.writer.checkpoint()
                run.begin()
            case "storage":
                run.blobs.is_down = not number
        assert [checkpoint.first for checkpoint in run.stored.checkpoints] == [
            sum(one.count for one in run.stored.checkpoints[:at]) for at in range(len(run.stored.checkpoints))
        ]
        if run.stored.blocks and not run.blobs.is_down:
            assert_same(drawn(run.blobs, run.stored), drawn_in_one(run.stored.blocks))
        if run.before.blocks and not run.blobs.is_down:  # because somebody may just have read it
            assert_same(drawn(run.blobs, run.before), drawn_in_one(run.before.blocks))
    run.checkpoint(is_last=True)
    assert_same(drawn(run.blobs, run.stored), drawn_in_one(run.blocks))
    assert len(run.stored.checkpoints) <= 4


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 700), st.integers(1, 6))
def test_objects_are_few_in_the_state_and_in_the_store_at_any_time(checkpoints: int, blocks: int) -> None:
    run = Run()
    for _ in range(checkpoints):
        run.add(blocks)
        run.checkpoint()
        assert len(run.stored.checkpoints) <= MOST_OBJECTS
        assert len(run.blobs.objects) <= len(run.stored.checkpoints) + MOST_OBJECTS  # until the next checkpoint
    run.checkpoint(is_last=True)
    assert len(run.stored.checkpoints) == len(run.blobs.objects) <= 4


def test_no_object_becomes_larger_than_readers_can_hold_several_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.execution.checkpoints._MERGED_BYTES", 40 * pack(block_of(0), [0]).nbytes)
    run = Run()
    for _ in range(200):
        run.add(3)
        run.checkpoint()
    run.checkpoint(is_last=True)
    sizes = [checkpoint.count for checkpoint in run.stored.checkpoints]
    assert sum(sizes) == 600
    assert max(sizes) <= 40
    assert len(sizes) <= 2 * 600 / 40
    assert_same(drawn(run.blobs, run.stored), drawn_in_one(600))


def test_a_late_writer_deletes_nothing_that_the_present_state_refers_to() -> None:
    run = Run()
    for _ in range(15):
        run.add(1)
        run.checkpoint()
    late = run.writer
    run.begin()
    for _ in range(20):
        run.add(1)
        run.checkpoint()
    late.stored()
    late.stored(is_last=True)
    assert_same(drawn(run.blobs, run.stored), drawn_in_one(run.stored.blocks))


def test_merging_that_fails_costs_no_checkpoint_and_is_made_up_for() -> None:
    run = Run()
    for number in range(40):
        run.add(1)
        if number == 10:
            lost = run.stored.checkpoints[0].blob
            content = run.blobs.objects.pop(lost)
        if number == 20:
            run.blobs.objects[lost] = content
        run.checkpoint()
        assert run.stored.blocks == number + 1
    assert len(run.stored.checkpoints) <= MOST_OBJECTS
    assert_same(drawn(run.blobs, run.stored), drawn_in_one(40))


def test_running_moments_are_one_object_and_the_one_before_for_whoever_has_just_read_where_it_is() -> None:
    blobs, maps = MemoryStore(), [np.full((1, 1, 4, 4), number, dtype=np.float32) for number in range(9)]
    writer = CheckpointWriter(blobs, "one", "x", EMPTY.model_copy(update={"kind": "moments"}), checkpoint_seconds=0)
    for number, values in enumerate(maps):
        writer.add(Block(number, 8, values, np.ones(1, dtype=np.float32)))
        before = writer.state
        state = writer.checkpoint()
        writer.stored()
        assert state.blocks == number + 1
        assert blobs.get_array(state.checkpoints[0].blob)[0].mean() == pytest.approx(number / 2)
        assert all(checkpoint.blob in blobs.objects for checkpoint in before.checkpoints)
        assert len(blobs.objects) <= 2
    writer.last_checkpoint()
    writer.stored(is_last=True)
    assert list(blobs.objects) == [state.checkpoints[0].blob]


def test_arrays_are_read_several_at_once_and_come_in_their_order() -> None:
    blobs, together = MemoryStore(), threading.Barrier(4)
    for number in range(40):
        blobs.put_array(f"{number}", np.full(3, number))

    def take(array: NDArray[Any]) -> NDArray[Any]:
        if array[0] < together.parties:
            together.wait(30)
        return array[:1]

    found = blobs.get_arrays([f"{number}" for number in range(40)], take)
    assert [int(array[0]) for array in found] == list(range(40))


def test_whoever_stops_reading_arrays_does_not_wait_for_the_rest() -> None:
    blobs = MemoryStore()
    for number in range(40):
        blobs.put_array(f"{number}", np.full(3, number))
    found = blobs.get_arrays([f"{number}" for number in range(40)])
    assert next(found)[0] == 0
    found.close()  # type: ignore[attr-defined]
    blobs.objects.pop("5")
    with pytest.raises(BlobNotFoundError):
        list(blobs.get_arrays([f"{number}" for number in range(40)]))


class NotingStore(ExplanationStore):
    """Takes note of how many objects a state refers to."""

    most_objects = 0
    checkpoints = 0

    def advance(self, *given: Any, **options: Any) -> bool:
        if options.get("state") is not None:
            self.most_objects = max(self.most_objects, len(options["state"].checkpoints))
            self.checkpoints += 1
        return super().advance(*given, **options)


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[Redis]:
    """A client of a server that writes a log, which it never rewrites."""
    port = free_port()
    options = ["--appendonly", "yes", "--appendfsync", "no", "--auto-aof-rewrite-percentage", "0"]
    with redis_server(tmp_path / "server", port, *options), Redis(port=port) as redis:
        yield redis


def log_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in (folder / "server" / "appendonlydir").glob("*.aof"))


@pytest.mark.slow
def test_an_hour_leaves_few_objects_and_a_short_log(logged: Redis, tmp_path: Path) -> None:
    image = noise_image(16, 16)
    (tmp_path / "none.toml").touch()
    black_box = classifier(brightness_of(slice(0, 8), slice(0, 8)))
    study = study_of(black_box, image, grid=2, masks=HOUR * 8, until=1.0)
    assert study.blocks >= HOUR
    store, jobs = NotingStore(logged, keep_seconds=86_400), JobQueue(logged, timeout_seconds=60)
    context = JobContext(
        store=store,
        blobs=MemoryStore(),
        models=ModelRegistry(tmp_path / "none.toml", black_box.device),
        statistics=PersistentCounters(logged),
        checkpoint_seconds=0,
        peers=PeerWorkers(logged, jobs, ShardQueue(logged), queue="q", worker="w", share_after_seconds=1e9),
        reuse_index=BlockReuseIndex(logged),
    )
    request = CanonicalRequest(model=ModelRef(id="m", digest="d"), method="rise", targets=None, parameters={"seed": 0})
    record = a_record("0" * 32).model_copy(update={"request": request})
    store.create(record)
    running = store.start(record.id, "x" * 32)
    assert running is not None
    before = log_bytes(tmp_path)
    model = LoadedModel("m", black_box, "d", 32)
    assert ExplanationRun(context, running, "x" * 32, model, study, began=0.0).run() is None
    assert store.checkpoints >= HOUR - 1
    assert store.most_objects <= MOST_OBJECTS
    assert log_bytes(tmp_path) - before < LOG_BYTES
    ended = store.read(record.id)
    assert ended is not None
    assert ended.status is Status.SUCCEEDED
    assert ended.state is not None
    assert len(ended.state.checkpoints) == 1
    assert len(context.blobs.objects) == 1  # type: ignore[attr-defined]
    assert_same(drawn(context.blobs, ended.state), draw_blocks(study, list(study.run()), image))


def test_only_what_changes_is_written_and_merged_checkpoints_are_forgotten(redis: Redis) -> None:
    store = ExplanationStore(redis, keep_seconds=600)
    store.create(a_record())
    store.start("one", "x")
    checkpoints = [Checkpoint(blob=f"b{number}", first=number, count=1) for number in range(9)]
    store.advance("one", "x", progress=PROGRESS, state=EMPTY.model_copy(update={"checkpoints": checkpoints}))
    record = store.read("one")
    assert record is not None
    assert record.state is not None
    assert record.state.checkpoints == checkpoints
    merged = [Checkpoint(blob="merged", first=0, count=8), checkpoints[8]]
    store.advance("one", "x", progress=PROGRESS, state=EMPTY.model_copy(update={"checkpoints": merged}))
    record = store.read("one")
    assert record is not None
    assert record.state is not None
    assert record.state.checkpoints == merged
    names: Any = redis.hkeys(record_key("one"))
    assert sorted(name for name in names if b":" in name) == [b"checkpoint:00000000", b"checkpoint:00000008"]
    events: Any = redis.xrevrange(events_key("one"), count=1)
    assert b'"targets": 1' in events[0][1][b"data"]
