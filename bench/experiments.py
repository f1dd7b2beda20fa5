"""What else could make maps sharper: `python -m bench.experiments [rise] [drise]`; findings in `bench/EXPERIMENTS.md`.

All variants see the same pictures and are held against the same long contrast run with another seed
(`bench/reference.py`). Another keep probability changes what is estimated, so it is judged by its own spread.
"""

import math
import sys

import numpy as np
import torch
from scipy import stats

from bench.reference import SUBJECTS, Map, Subject, pictures, reference_map, study_of
from bench.trials import Bank
from bench.variants import VARIANTS, Maps, noise_nearby, product

PICTURES = {"rise": 8, "drise": 4}
REFERENCE = {"rise": 50_000, "drise": 16_384}
BUDGETS = {"rise": (256, 512, 1024, 2048), "drise": (512, 1024, 1536, 2048)}
KEEPS = (0.35, 0.501, 0.65)  # 0.501 is 0.5 without the Hadamard design
FIXED: dict[str, dict[str, object]] = {"rise": {}, "drise": {"rescue": False}}
Rows = list[list[float]]


def correlation(maps: Maps, truth: Map) -> float:
    return float(np.corrcoef(maps.mean(axis=0).ravel(), truth.ravel())[0, 1])


def covered(maps: Maps, truth: Map) -> float:
    """Return the share of pixels whose 95 % interval (Student's t) holds the truth."""
    error = maps.std(axis=0, ddof=1) / np.sqrt(len(maps))
    return float((np.abs(maps.mean(axis=0) - truth) <= stats.t.ppf(0.975, len(maps) - 1) * error).mean())


def noise_share(maps: Maps) -> float:
    """Return the variance of the mean over that of the map, from the spread of blocks; reliability follows from it."""
    return float(maps.var(axis=0, ddof=1).mean() / len(maps) / maps.mean(axis=0).var())


def variants_of(bank: Bank, truth: Map, budgets: tuple[int, ...]) -> dict[str, list[float]]:
    """Return per variant the correlation at each budget, and the coverage at the largest."""
    found = {}
    for name, variant in VARIANTS.items():
        maps = [variant(bank, masks) for masks in budgets]
        found[name] = [*(correlation(each, truth) for each in maps), covered(maps[-1], truth)]
    return found


def variants_table(label: str, budgets: tuple[int, ...], found: list[dict[str, list[float]]]) -> list[str]:
    """Return medians of correlation; masks saved are a geometric mean over pictures and the two largest budgets."""
    lines = [f"| {label} | {' | '.join(map(str, budgets))} | masks saved | covered |", "|---" * 7 + "|"]
    own = np.array([each["product"] for each in found])
    for name in VARIANTS:
        table = np.array([each[name] for each in found])
        saved = np.exp(np.log((1 - own[:, 2:4]) / (1 - table[:, 2:4])).mean())
        cells = [f"{value:.4f}" for value in np.median(table[:, :-1], axis=0)]
        lines.append(f"| {name} | {' | '.join(cells)} | {saved:.2f} | {table[:, -1].mean():.1%} |")
    return lines


def stops_of(bank: Bank, truth: Map, masks: int) -> dict[tuple[str, int], Rows]:
    """Return promised and real correlation of every few blocks in a row, by map and by how few."""
    maps, found = product(bank, masks), {}
    for few in (2, 3, 4):
        parts = [maps[at : at + few] for at in range(0, len(maps) - few + 1, few)]
        found["product", few] = [[promised(noise_share(part)), correlation(part, truth)] for part in parts]
        found["shrunk", few] = [shrunk_stop(bank, part, truth) for part in parts]
    return found


def promised(noise: float) -> float:
    return math.sqrt(max(0.0, 1 - noise))


def shrunk_stop(bank: Bank, maps: Maps, truth: Map) -> list[float]:
    """Return what a map that was shrunk towards zero promises, as a Wiener filter does, and what it keeps."""
    noise, nearby = noise_share(maps), noise_nearby(bank, maps)
    left = (1 - nearby).mean() * noise / max(1e-9, 1 - noise)
    return [promised(left), correlation(maps * (1 - nearby), truth)]


def stops_table(label: str, size: int, found: list[dict[tuple[str, int], Rows]]) -> list[str]:
    """Return how far promises are off, and how often 0.95 is promised and not kept."""
    heads = [f"{label}: map", "blocks", "masks", "promised", "real", "off by", "0.95 promised", "of these below"]
    lines = [f"| {' | '.join(heads)} |", "|---" * 8 + "|"]
    for name, few in found[0]:
        said, real = np.array([row for each in found for row in each[name, few]]).T
        stopped = said >= 0.95
        wrong = (real[stopped] < 0.95).mean() if stopped.any() else 0.0
        off, medians = np.abs(said - real).mean(), f"{np.median(said):.3f} | {np.median(real):.3f}"
        lines.append(f"| {name} | {few} | {few * size} | {medians} | {off:.3f} | {stopped.mean():.0%} | {wrong:.0%} |")
    return lines


def sources_of(bank: Bank, blocks: int) -> list[float]:
    """Return one block's noise over the map's spread, at one shift and over shifts."""
    study, shift = bank.study, bank.canvas.shift(0)
    trials = [bank.ask(study.design.sample(1000 + block), shift) for block in range(blocks)]
    same = np.stack([bank.draw(trial.effects, shift) for trial in trials])
    many = product(bank, blocks * study.block_size)
    spread = many.mean(axis=0).var()
    return [float(maps.var(axis=0, ddof=1).mean() / spread) for maps in (same, many)]


def keeps_of(subject: Subject, black_box: object, picture: object, bank: Bank, truth: Map, masks: int) -> Rows:
    """Return noise share and likeness to the map at 0.5, for the product's design and for other keep probabilities."""
    found = [product(bank, masks)]
    for keep in KEEPS:
        study = study_of(subject, black_box, picture, masks=masks, seed=1, keep=keep, **FIXED[subject.method])  # type: ignore[arg-type]
        row = study.resolved.target_rows[0]
        blocks = [torch.from_numpy(block.effects[row, 0]).flatten() for block in study.run()]
        found.append(np.stack([bank.draw(each, bank.canvas.shift(index)) for index, each in enumerate(blocks)]))
    return [[noise_share(maps), correlation(maps, truth)] for maps in found]


def keeps_table(label: str, found: list[Rows]) -> list[str]:
    table = np.array(found)
    heads = [f"{label}: keep", "noise share", "over the product's", "correlation with the map at 0.5"]
    lines = [f"| {' | '.join(heads)} |", "|---" * 4 + "|"]
    for index, keep in enumerate(("0.5, Hadamard", *KEEPS)):
        ratio = np.exp(np.log(table[:, index, 0] / table[:, 0, 0]).mean())
        noise, like = np.median(table[:, index], axis=0)
        lines.append(f"| {keep} | {noise:.4f} | {ratio:.2f} | {like:.3f} |")
    return lines


def run(subject: Subject) -> None:
    """Print all tables of one method."""
    black_box, budgets, label = subject.load(), BUDGETS[subject.method], subject.label
    shown = pictures(subject, PICTURES[subject.method])
    tried, stops, sources, keeps, size = [], [], [], [], 0
    for number, picture in enumerate(shown):
        truth = reference_map(
            subject, black_box, picture, number, masks=REFERENCE[subject.method], keep=0.5, **FIXED[subject.method]
        )
        study = study_of(subject, black_box, picture, masks=budgets[-1], seed=1, keep=0.5, **FIXED[subject.method])
        bank, size = Bank(study), study.block_size
        tried.append(variants_of(bank, truth, budgets))
        stops.append(stops_of(bank, truth, budgets[-1]))
        sources.append(sources_of(bank, 4))
        keeps.append(keeps_of(subject, black_box, picture, bank, truth, 1024))
        sys.stderr.write(f"{label}, picture {number + 1} of {len(shown)}: one block's noise {sources[-1]}\n")
    same, many = np.median(sources, axis=0)
    words = f"{label}: one block's noise over the map's spread {same:.3f} at one shift, {many:.3f} over shifts."
    for lines in (variants_table(label, budgets, tried), stops_table(label, size, stops), keeps_table(label, keeps)):
        sys.stdout.write("\n".join([*lines, "", ""]))
    sys.stdout.write(f"{words}\n\n")
    sys.stdout.flush()


def main() -> None:
    for subject in SUBJECTS:
        if subject.method in (sys.argv[1:] or BUDGETS):
            run(subject)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
