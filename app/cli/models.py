"""`rise-serve models` and `rise-serve predict`: what there is, and what a model sees in an image."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from app.cli.worker_cli import run_worker_cli


def models(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Load every model of the models file; say what it is, and what is assumed about it."""
    found = run_worker_cli("models")
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    table = Table("model", "task", "input", "labels", "state")
    for card in found:
        size = "any" if card["input_size"] is None else "{} x {}".format(*card["input_size"])
        labels = ", ".join(card["labels"][:6]) + (", ..." if len(card["labels"]) > 6 else "")
        table.add_row(card["id"], card["task"], size, labels, card["reason"] or card["state"])
    Console().print(table)
    for card in found:
        if card["assumptions"]:
            assumed = ", ".join(f"{one['what']} {one['value']} ({one['from']})" for one in card["assumptions"])
            Console().print(f"{card['id']}: {assumed}", markup=False, highlight=False)


def predict(
    image: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)],
    model: Annotated[str, typer.Option(help="Id of a model in the models file.")],
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many classes or detections.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what a model sees in an image, the strongest first: what can be explained. Needs no server."""
    found = run_worker_cli("predict", str(image), "--model", model, "--limit", str(limit))
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    table = Table("label", "name", "score", "box (x0, y0, x1, y1)")
    for one in found:
        box = "-" if one["box"] is None else ", ".join(f"{side:.0f}" for side in one["box"])
        table.add_row(str(one["label"]), one["name"], f"{one['score']:.3f}", box)
    Console().print(table)
