"""Jumps and repeated answers of each model on each picture, kept in `build/bench/trust/`: a run can be resumed."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from app.contract.errors import RiseError
from app.contract.schemas import AuditVerdict, JsonObject
from bench.reference import STORE
from bench.trust.subjects import Audited
from workers.audit.asking import PictureAsker
from workers.audit.consistency import ask_again
from workers.audit.discontinuity import Jumps, find_jumps
from workers.audit.paths import masked_paths, natural_paths
from workers.audit.score_threshold import least_confidence
from workers.audit.sentences import JUMP, SAME_ANSWER_TO_ANOTHER_PIXEL, about_jumps
from workers.blackbox import BlackBox
from workers.explainer.plan import ExplanationPlan, build_plan
from workers.methods import method

_SAME = 0.05  # difference of the probability from the true model's: the gate is closed
_HIDDEN = 0.25  # share of masked pictures with a larger difference, from which there is something that is hidden
_MASKED = 16
_PATH = STORE / "trust" / "measurements.jsonl"


@dataclass(frozen=True)
class Measurement:
    """What the audit's alarms are made from.

    Attributes:
        subject: label and kind of the model.
        picture: its name.
        number: of the picture: even ones set thresholds, odd ones are reported.
        masked: jumps on paths to masked pictures.
        natural: on natural paths.
        repeated: largest difference among repeated answers.
        varied: difference with one pixel changed.
        is_repeated: whether repeated answers are the same.
        least_confidence: least confidence among what a detector proposes; None for other models.
    """

    subject: str
    picture: str
    number: int
    masked: Jumps
    natural: Jumps
    repeated: float
    varied: float
    is_repeated: bool
    least_confidence: float | None

    @property
    def verdict(self) -> AuditVerdict:
        """What the audit's check of jumps says; `caution` where jumps are no evidence."""
        return about_jumps(self.masked, self.natural, self.least_confidence)[0]

    @property
    def is_consistency_alarm(self) -> bool:
        """Whether the audit's check of repeated answers says alarm."""
        counts_varied = self.masked.largest <= JUMP or self.natural.largest_beyond_start <= JUMP
        return not self.is_repeated or (counts_varied and self.varied > SAME_ANSWER_TO_ANOTHER_PIXEL)

    @property
    def is_alarm(self) -> bool:
        """Whether the audit says alarm."""
        return self.verdict == "alarm" or self.is_consistency_alarm


def measurements(subjects: list[Audited]) -> Iterator[tuple[Audited, list[Measurement]]]:
    """Yield what was measured of each model.

    Left out are pictures in which it finds nothing, those that a gate takes for masked ones, and those of which a liar
    answers as the true model to more than three quarters of the masks: there is nothing that it hides.
    """
    known = _known(_PATH)
    for subject in subjects:
        key = f"{subject.kind}/{subject.label}"
        found: dict[int, list[Measurement]] = {0: [], 1: []}
        for number, (name, picture) in enumerate(subject.pictures().items()):
            half = found[number % 2]
            if subject.enough is not None and len(half) >= subject.enough[number % 2]:
                continue
            if (key, name) not in known:
                known[key, name] = _measured(subject, key, name, number, picture)
                _append(_PATH, key, name, known[key, name])
            measured = known[key, name]
            half += [measured] if measured else []
        sys.stderr.write(f"{key}: {len(found[0])} and {len(found[1])} pictures\n")
        yield subject, found[0] + found[1]


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
        true = build_plan(subject.true(), picture, plugin, parameters, "top:1", batch=32) if subject.true else None
    except RiseError:
        return None
    if true and not _is_same_answer(plan, true):
        return None
    if subject.kind == "memory":
        next(plan.run())  # because an audit follows an explanation
    if true and not _hides(plan, true):
        return None
    asker, image = PictureAsker(plan, lambda _: None), plan.problem.image
    masked, among = find_jumps(asker, image, masked_paths(plan), None, twice=True)
    natural, _ = find_jumps(asker, image, natural_paths(image), among, twice=False)
    answers = ask_again(plan, asker, among)
    repeated = float(answers.repeated.max())
    return Measurement(
        subject=key,
        picture=name,
        number=number,
        masked=masked,
        natural=natural,
        repeated=repeated,
        varied=float(answers.varied.max()),
        is_repeated=answers.is_same(repeated),
        least_confidence=least_confidence(plan),
    )


def _is_same_answer(plan: ExplanationPlan, other: ExplanationPlan) -> bool:
    same_targets = [target.label for target in plan.resolved.targets] == [
        target.label for target in other.resolved.targets
    ]
    one, two = (each.unmasked[each.resolved.target_rows] for each in (plan, other))
    return same_targets and bool((one - two).abs().max() < _SAME)


def _hides(plan: ExplanationPlan, true: ExplanationPlan) -> bool:
    """Return whether a model answers otherwise than the true one to many masked pictures."""
    paths, rows = masked_paths(plan, _MASKED), plan.resolved.target_rows
    masked = torch.stack([path(1.0) for path in paths])
    one, two = ((each.resolved.probability or each.resolved.score)(each.forward(masked)) for each in (plan, true))
    return float(((one - two)[:, rows].abs().amax(1) > _SAME).float().mean()) >= _HIDDEN


def _known(path: Path) -> dict[tuple[str, str], Measurement | None]:
    if not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {(key, name): values and _read(**values) for key, name, values in lines}


def _read(*, masked: JsonObject, natural: JsonObject, **values: Any) -> Measurement:
    of_masked, of_natural = (
        Jumps(**{name: np.array(each) for name, each in jumps.items()}) for jumps in (masked, natural)
    )
    return Measurement(masked=of_masked, natural=of_natural, **values)


def _append(path: Path, key: str, name: str, measurement: Measurement | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps([key, name, measurement and asdict(measurement)], default=np.ndarray.tolist) + "\n")
