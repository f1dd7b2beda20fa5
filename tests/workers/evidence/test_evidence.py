"""Evidence about models of known behaviour, and through the worker's own path."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from redis import Redis
from torch import Tensor

from app.contract.counters import PersistentCounters
from app.contract.explanations.reuse_index import BlockReuseIndex
from app.contract.explanations.store import ExplanationStore
from app.contract.queue.jobs import JobQueue
from app.contract.schemas import CanonicalRequest, Evidence, ExplanationRecord, FillScore, ModelRef, State, Status
from app.contract.storage.object_store import BlobStore
from tests.contract.test_store import a_record
from tests.support.black_boxes import brightness_of, classifier, noise_image, study_of, white_image
from workers.blackbox import Classifier, Detections, Detector, Preprocessing
from workers.evidence.gathering import GatheredEvidence, gather
from workers.evidence.sentences import describe, is_consistent
from workers.execution.run import ExplanationRun, JobContext
from workers.execution.shards import PeerWorkers, ShardQueue
from workers.explainer.convergence import Convergence
from workers.explainer.plan import ExplanationPlan
from workers.registry.model_registry import LoadedModel, ModelRegistry
from workers.supervision.current_attempt import OwnershipLost

PATCH = brightness_of(slice(8, 16), slice(8, 16))


def gathered(plan: ExplanationPlan) -> GatheredEvidence:
    convergence = Convergence(plan)
    for block in plan.run():
        convergence.add(block)
    evidence = gather(plan, convergence)
    assert evidence is not None
    return evidence


def only(evidence: GatheredEvidence) -> Evidence:
    (found,) = evidence.of_targets
    assert found is not None
    return found


def two_classes(score: Callable[[Tensor], Tensor], activation: Any = "probabilities") -> Classifier:
    """Return a classifier of "it", whose score is given, and "other"."""
    return Classifier(
        forward=lambda images: torch.stack([score(images), 1 - score(images)], 1),
        labels=("it", "other"),
        preprocessing=Preprocessing(size=None),
        activation=activation,
    )


def test_of_a_model_that_sees_one_patch_the_rest_can_be_hidden_at_once() -> None:
    evidence = gathered(study_of(classifier(PATCH), white_image(64, 64), masks=256, until=1))
    found = only(evidence).least_relevant_first
    assert found is not None
    assert [step.cells for step in found.steps] == [6, 16, 32]
    assert found.cells == 32
    assert found.drop == pytest.approx(0, abs=0.02)
    assert found.random > 0.2
    assert evidence.passes == 16
    assert any("misses little" in sentence for sentence in only(evidence).sentences)


def test_of_a_model_that_needs_everything_no_half_can_be_hidden() -> None:
    """The least relevant cells are as needed as any other: the map, flat in truth, misses what the score needs."""
    box = classifier(lambda images: (images.mean((1, 2, 3)) - 0.5).relu() * 2)
    evidence = only(gathered(study_of(box, white_image(64, 64), masks=256, until=1)))
    assert evidence.least_relevant_first is not None
    assert evidence.least_relevant_first.drop > 0.5 * evidence.least_relevant_first.random
    assert any("misses some" in sentence for sentence in evidence.sentences)


@pytest.mark.parametrize(
    ("fill", "share", "seen"), [("black", 0.0, "other"), ("white", 1.0, "it"), ("grey", 0.5, None)]
)
def test_the_fill_score_is_what_the_model_sees_in_the_fill_alone(fill: str, share: float, seen: str | None) -> None:
    plan = study_of(two_classes(PATCH), white_image(48, 48), masks=1, until=1, fill=fill)
    found = only(gathered(plan)).fill_score
    assert found is not None
    assert found.target == pytest.approx(share, abs=0.01)
    if seen:
        assert found.top_class == seen
        assert found.probability == pytest.approx(1, abs=0.01)


def test_what_is_seen_in_the_fill_alone_is_said_once() -> None:
    same = Evidence(fill_score=FillScore(target=0.19, top_class="star", probability=0.19))
    other = Evidence(fill_score=FillScore(target=0.01, top_class="spotlight", probability=0.06))
    (about_same,), (about_other,) = (describe(each, "star", "black", score=1.0, cells=64) for each in (same, other))
    assert about_same == "In the fill alone (black) the model sees 'star' with 0.19, 19% of its score in the image."
    assert about_other == (
        "In the fill alone (black) the model sees 'spotlight' with 0.06; of 'star' 1% of the score is left."
    )


@pytest.mark.parametrize("score", ["probability", "logit"])
def test_the_fill_score_is_a_share_of_the_probability_whatever_is_explained(score: str) -> None:
    box = two_classes(lambda images: 0.2 + 0.6 * PATCH(images))
    found = only(gathered(study_of(box, white_image(48, 48), masks=1, until=1, score=score))).fill_score
    assert found is not None
    assert found.target == pytest.approx(0.25, abs=1e-3)


def test_an_honest_model_gives_one_image_one_answer() -> None:
    evidence = gathered(study_of(two_classes(PATCH), noise_image(48, 48), masks=256, until=1))
    assert evidence.consistency == pytest.approx(0, abs=1e-6)
    assert any("the same answer" in sentence for sentence in only(evidence).sentences)


class ModelWithMemory:
    """Answers otherwise once it has seen more than one picture at once: it takes them for those of an explanation."""

    def __init__(self) -> None:
        self.is_alerted = False

    def __call__(self, images: Tensor) -> Tensor:
        self.is_alerted |= len(images) > 1
        return PATCH(images) * (0.9 if self.is_alerted else 1.0)


def test_a_model_that_remembers_being_explained_is_told_by_its_answers() -> None:
    evidence = gathered(study_of(two_classes(ModelWithMemory()), white_image(48, 48), masks=256, until=1))
    assert evidence.consistency == pytest.approx(0.1, abs=1e-6)
    assert any("differ by 0.1" in sentence for sentence in only(evidence).sentences)


def test_what_identical_calls_differ_by_is_no_inconsistency() -> None:
    assert is_consistent(0.004, 0.0005, rounding=1e-7)
    assert not is_consistent(0.006, 0.0005, rounding=1e-7)
    assert not is_consistent(0.002, 0.0, rounding=1e-7)
    assert is_consistent(0.002, 0.0, rounding=1e-3)  # half precision rounds otherwise in larger batches


def test_evidence_of_several_targets_shares_the_random_cells_and_says_what_was_left_out() -> None:
    box = Classifier(
        forward=lambda images: torch.stack([PATCH(images) / (1 + number) for number in range(7)], 1),
        labels=tuple("abcdefg"),
        preprocessing=Preprocessing(size=None),
        activation="probabilities",
    )
    evidence = gathered(study_of(box, white_image(48, 48), "top:7", masks=256, until=1))
    assert evidence.passes == 1 + 9 + 5 * 3 + 1 + 2
    assert [one is not None and one.least_relevant_first is not None for one in evidence.of_targets] == [True] * 5 + [
        False
    ] * 2
    last = evidence.of_targets[-1]
    assert last is not None
    assert last.fidelity is not None
    assert any("first 5 targets only" in sentence for sentence in last.sentences)


def test_colours_leave_out_what_is_not_defined_for_several_fills() -> None:
    plan = study_of(two_classes(PATCH), noise_image(24, 24), method_name="mc-rise", colors=["black", "white"], grid=3)
    evidence = gathered(plan)
    assert evidence.passes == 1 + 2 + 2
    assert only(evidence).least_relevant_first is None
    assert only(evidence).fill_score is None
    assert only(evidence).interaction_share is None
    assert only(evidence).fidelity is not None
    assert evidence.consistency == pytest.approx(0, abs=1e-6)


def test_a_detector_is_asked_for_its_match_and_may_find_nothing_in_the_fill() -> None:
    def forward(images: Tensor) -> Detections:
        seen = PATCH(images)
        boxes = torch.tensor([[8.0, 8.0, 16.0, 16.0]]).expand(len(images), 1, 4)
        kept = slice(0, 1 if float(seen.max()) > 0.01 else 0)
        return Detections(boxes[:, kept], torch.ones(len(images), 1, 1)[:, kept], seen[:, None][:, kept])

    box = Detector(forward=forward, labels=("it",), preprocessing=Preprocessing(size=None))
    evidence = only(gathered(study_of(box, white_image(48, 48), method_name="drise", grid=6, masks=512, until=1)))
    assert evidence.fill_score is not None
    assert evidence.fill_score.model_dump() == {"target": 0.0, "class": None, "probability": None}
    assert evidence.least_relevant_first is not None
    assert evidence.least_relevant_first.drop == pytest.approx(0, abs=0.05)
    assert evidence.interaction_share is not None
    assert any("sees nothing" in sentence for sentence in evidence.sentences)


@pytest.mark.parametrize("parameters", [{"evidence": False}, {"estimator": "paper"}])
def test_no_picture_is_asked_for_where_no_evidence_is_wanted(parameters: dict[str, Any]) -> None:
    plan = study_of(classifier(PATCH), white_image(24, 24), masks=8, **parameters)
    convergence = Convergence(plan)
    convergence.add(next(plan.run()))

    def no_more(_: Tensor) -> Tensor:
        raise AssertionError

    assert gather(replace(plan, forward=no_more), convergence) is None


class World:
    """Executions of one explanation as a worker runs them, with a real server and real objects."""

    def __init__(self, redis: Redis, folder: Path, plan: ExplanationPlan) -> None:
        (folder / "none.toml").touch()
        jobs = JobQueue(redis, timeout_seconds=60)
        self.plan = plan
        self.context = JobContext(
            store=ExplanationStore(redis, keep_seconds=600),
            blobs=BlobStore((folder / "blobs").as_uri()),
            models=ModelRegistry(folder / "none.toml", torch.device("cpu")),
            statistics=PersistentCounters(redis),
            checkpoint_seconds=0,
            peers=PeerWorkers(redis, jobs, ShardQueue(redis), queue="q", worker="w", share_after_seconds=1e9),
            reuse_index=BlockReuseIndex(redis),
        )

    def create(self, name: str, **parameters: Any) -> None:
        request = CanonicalRequest(
            model=ModelRef(id="m", digest="d"), method="rise", targets=None, parameters={"seed": 0, **parameters}
        )
        self.context.store.create(a_record(name).model_copy(update={"request": request}))

    def execute(self, name: str, execution: str, plan: ExplanationPlan | None = None) -> ExplanationRecord:
        running = self.context.store.start(name, execution)
        assert running is not None
        model = LoadedModel("m", two_classes(PATCH), "d", 32)
        ExplanationRun(self.context, running, execution, model, plan or self.plan, began=0.0).run()
        return self.read(name)

    def read(self, name: str) -> ExplanationRecord:
        record = self.context.store.read(name)
        assert record is not None
        return record


@pytest.fixture
def world(redis: Redis, tmp_path: Path) -> World:
    plan = study_of(two_classes(PATCH), noise_image(48, 48), grid=4, masks=160, until=1)
    assert plan.blocks == 5
    return World(redis, tmp_path, plan)


class Killed(Exception):  # noqa: N818 - of a process, not an error
    """The worker is gone."""


def dying_after(plan: ExplanationPlan, pictures: int) -> ExplanationPlan:
    """Return a plan whose process is gone after so many pictures more."""
    left = [pictures]

    def forward(images: Tensor) -> Any:
        left[0] -= len(images)
        if left[0] < 0:
            raise Killed
        return plan.forward(images)

    problem = replace(plan.problem, score=lambda images: plan.resolved.score(forward(images)))
    return replace(plan, forward=forward, problem=problem)


@pytest.mark.parametrize("pictures", [100, 5 * 32, 5 * 32 + 10])
def test_a_killed_explanation_goes_on_to_the_same_evidence(world: World, pictures: int) -> None:
    world.create("whole")
    whole = world.execute("whole", "x")
    assert whole.status is Status.SUCCEEDED
    world.context.reuse_index._redis.flushall()
    world.create("killed")
    with pytest.raises(Exception, match="Killed"):
        world.execute("killed", "x", dying_after(world.plan, pictures))
    resumed = world.execute("killed", "y")
    assert [target.evidence for target in resumed.targets] == [target.evidence for target in whole.targets]
    evidence = resumed.targets[0].evidence
    assert evidence is not None
    assert evidence.fidelity is not None
    assert evidence.interaction_share is not None
    assert resumed.consistency == whole.consistency
    assert resumed.provenance is not None
    assert resumed.provenance.evidence_passes == 16


def without_moments(state: State, blobs: BlobStore) -> None:
    """Store blocks as versions did that knew no evidence."""
    for checkpoint in state.checkpoints:
        blobs.put_array(checkpoint.blob, blobs.get_array(checkpoint.blob)[:, : len(state.rows)])


def test_blocks_of_a_version_without_evidence_are_continued(world: World) -> None:
    world.create("old")
    with pytest.raises(Exception, match="Killed"):
        world.execute("old", "x", dying_after(world.plan, 70))
    stored = world.read("old").state
    assert stored is not None
    assert stored.blocks == 2
    without_moments(stored, world.context.blobs)
    ended = world.execute("old", "y")
    assert ended.status is Status.SUCCEEDED
    evidence = ended.targets[0].evidence
    assert evidence is not None
    assert evidence.interaction_share == pytest.approx(0, abs=1e-6)  # of the three new ones
    world.create("new")
    assert np.allclose(
        _effects(world, ended),
        _effects(world, world.execute("new", "z", replace(world.plan, blocks=5))),
        equal_nan=True,
    )


def _effects(world: World, record: ExplanationRecord) -> Any:
    assert record.state is not None
    arrays = world.context.blobs.get_arrays([checkpoint.blob for checkpoint in record.state.checkpoints])
    return np.concatenate([array[:, : len(record.state.rows)] for array in arrays])


def test_evidence_is_asked_for_again_only_where_the_map_is_another_one(world: World) -> None:
    world.create("first", masks=160)
    first = world.execute("first", "x")
    world.create("same", masks=160, until=0.9)
    same = world.execute("same", "y")
    assert same.targets[0].evidence == first.targets[0].evidence
    assert same.consistency == first.consistency
    assert same.provenance is not None
    assert same.provenance.evidence_passes == 0
    world.create("more", masks=192)
    more = world.execute("more", "z", replace(world.plan, blocks=6))
    assert more.provenance is not None
    assert more.provenance.evidence_passes == 16


def test_a_cancelled_explanation_asks_no_more(world: World) -> None:
    world.create("one")
    running = world.context.store.start("one", "x")
    assert running is not None
    asked: list[int] = []

    def cancel(images: Tensor) -> Any:
        asked.append(len(images))
        return world.plan.forward(images)

    last = world.plan.blocks * world.plan.block_size

    def score(images: Tensor) -> Tensor:
        nonlocal last
        last -= len(images)
        if last == 0:
            world.context.store.cancel("one")
        return world.plan.resolved.score(world.plan.forward(images))

    plan = replace(world.plan, forward=cancel, problem=replace(world.plan.problem, score=score))
    model = LoadedModel("m", two_classes(PATCH), "d", 32)
    with pytest.raises(OwnershipLost):
        ExplanationRun(world.context, running, "x", model, plan, began=0.0).run()
    assert asked == []
    assert world.read("one").status is Status.CANCELLED
