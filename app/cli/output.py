"""What the command line prints about an explanation."""

import json
import sys

from rich.console import Console
from rich.table import Table

from app.cli.explain_backends import FinishedExplanation


def print_answer(answer: FinishedExplanation, files: list[dict[str, str]], *, as_json: bool) -> None:
    """Print the targets of an explanation with the files of their maps, as a table or as JSON."""
    if as_json:
        pairs = zip(answer.targets, files, strict=True)
        targets = [{**target.model_dump(mode="json"), "files": paths} for target, paths in pairs]
        audit = {"audit": answer.audit.model_dump(mode="json")} if answer.audit else {}
        sys.stdout.write(json.dumps({**answer.summary, "targets": targets, **audit}) + "\n")
        return
    table = Table("target", "score", "reliability", "peak (x, y)", "overlay")
    for target, paths in zip(answer.targets, files, strict=True):
        peak = "-" if target.peak is None else "{:.0f}, {:.0f}".format(*target.peak)
        reliability = "-" if target.reliability is None else f"{target.reliability:.3f}"
        score = "-" if target.score is None else f"{target.score:.3f}"
        shown = paths["overlay"] if target.error is None else f"none: {target.error.detail}"
        table.add_row(target.name or "-", score, reliability, peak, shown)
    console = Console()
    console.print(table)
    for target in answer.targets:
        for sentence in target.evidence.sentences if target.evidence else ():
            console.print(f"{target.name or target.index}: {sentence}", highlight=False, markup=False)
    if answer.audit is not None:
        for sentence in (*(check.sentence for check in answer.audit.checks), answer.audit.limits):
            console.print(f"audit: {sentence}", highlight=False, markup=False)
        console.print(f"audit: {answer.audit.verdict.replace('-', ' ')}, {answer.audit.passes:,} pictures")
