"""Jumps and repeated answers of each model on each picture, kept in `build/bench/trust/`: a run can be resumed."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from PIL import Image

from app.contract.errors import RiseError
from bench.reference import STORE
from bench.trust.subjects import Audited
from workers.audit.asking import PictureAsker
from workers.audit.consistency import ask_again
from workers.audit.discontinuity import find_jumps, masked_ends, natural_ends
from workers.audit.sentences import JUMP, SAME_ANSWER_TO_ANOTHER_PIXEL
from workers.blackbox import BlackBox
from workers.explainer.plan import ExplanationPlan, build_plan
from workers.methods import method

_SAME = 0.05  # difference of the probability: the gate is closed
_PATH = STORE / "trust" / "measurements.jsonl"


@dataclass(frozen=True)
class Measurement:
    """What the audit's alarms are made from.

    Attributes:
        subject: label and kind of the model.
        picture: its name.
        number: of the picture: even ones set thresholds, odd ones are reported.
        masked: largest jump on paths to masked pictures.
        natural: on natural paths; likewise without those from the image itself.
        beyond_start: likewise.
        repeated: largest difference among repeated answers.
        varied: difference with one pixel changed.
        is_repeated: whether repeated answers are the same.
    """

    subject: str
    picture: str
    number: int
    masked: float
    natural: float
    beyond_start: float
    repeated: float
    varied: float
    is_repeated: bool

    @property
    def is_discontinuous(self) -> bool:
        """Whether the audit says that the model jumps by nature."""
        return self.masked > JUMP and self.natural > JUMP

    @property
    def is_jump_alarm(self) -> bool:
        """Whether the audit's check of jumps says alarm."""
        return self.masked > JUMP >= self.natural

    @property
    def is_consistency_alarm(self) -> bool:
        """Whether the audit's check of repeated answers does."""
        counts_varied = self.masked <= JUMP or self.beyond_start <= JUMP
        return not self.is_repeated or (counts_varied and self.varied > SAME_ANSWER_TO_ANOTHER_PIXEL)

    @property
    def is_alarm(self) -> bool:
        """Whether the audit says alarm."""
        return self.is_jump_alarm or self.is_consistency_alarm


def measurements(subjects: list[Audited]) -> Iterator[tuple[Audited, list[Measurement]]]:
    """Yield what was measured of each model.

    Left out are pictures in which it finds nothing, and those that a gate takes for masked ones: there is nothing that
    it could hide.
    """
    known = _known(_PATH)
    for subject in subjects:
        key = f"{subject.kind}/{subject.label}"
        found = []
        for number, (name, picture) in enumerate(subject.pictures().items()):
            if (key, name) not in known:
                known[key, name] = _measured(subject, key, name, number, picture)
                _append(_PATH, key, name, known[key, name])
            found.append(known[key, name])
        sys.stderr.write(f"{key}: {len(found)} pictures\n")
        yield subject, [each for each in found if each is not None]


def _measured(subject: Audited, key: str, name: str, number: int, picture: Image.Image) -> Measurement | None:
    black_box = subject.load()  # which may train it
    with torch.inference_mode():
        return _measurement(subject, black_box, key, name, number, picture)


def _measurement(
    subject: Audited, black_box: BlackBox, key: str, name: str, number: int, picture: Image.Image
) -> Measurement | None:
    plugin = method(subject.method)
    parameters = plugin.Parameters.model_validate({"fill": subject.fill, "masks": 128})
    try:
        plan = build_plan(black_box, picture, plugin, parameters, "top:1", batch=32)
        if subject.true is not None:
            true = build_plan(subject.true(), picture, plugin, parameters, "top:1", batch=32)
    except RiseError:
        return None
    if subject.true is not None and not _is_same_answer(plan, true):
        return None
    if subject.kind == "memory":
        next(plan.run())  # because an audit follows an explanation
    asker = PictureAsker(plan, lambda _: None)
    masked, among = find_jumps(asker, plan.problem.image, masked_ends(plan), None)
    natural, _ = find_jumps(asker, plan.problem.image, natural_ends(plan.problem.image), among)
    answers = ask_again(plan, asker, among)
    repeated = float(answers.repeated.max())
    return Measurement(
        subject=key,
        picture=name,
        number=number,
        masked=masked.largest,
        natural=natural.largest,
        beyond_start=natural.largest_beyond_start,
        repeated=repeated,
        varied=float(answers.varied.max()),
        is_repeated=answers.is_same(repeated),
    )


def _is_same_answer(plan: ExplanationPlan, other: ExplanationPlan) -> bool:
    same_targets = [target.label for target in plan.resolved.targets] == [
        target.label for target in other.resolved.targets
    ]
    one, two = (each.unmasked[each.resolved.target_rows] for each in (plan, other))
    return same_targets and bool((one - two).abs().max() < _SAME)


def _known(path: Path) -> dict[tuple[str, str], Measurement | None]:
    if not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {(key, name): values and Measurement(**values) for key, name, values in lines}


def _append(path: Path, key: str, name: str, measurement: Measurement | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps([key, name, measurement and asdict(measurement)]) + "\n")
