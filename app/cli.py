"""`rise-serve`: start the service, or explain an image without one.

Commands that compute are handed over to `python -m workers`; this process never imports it.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
import uvicorn
from rich.console import Console
from rich.table import Table

from app.caller import PUBLIC
from app.catalogue import Catalogue
from app.contract.announcements import announcements
from app.contract.blobs import Blobs
from app.contract.connection import connect
from app.contract.errors import RiseError
from app.contract.schemas import Question, Record
from app.contract.settings import Settings
from app.formats import Style, formats
from app.main import create_app
from app.maps import sheet_of
from app.submission import build_request, fingerprint
from app.up import CannotStart
from app.up import up as run_everything

cli = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)

SAMPLE = Path("workers/demo/samples/star.jpg")


def main() -> None:
    """Run the command line."""
    cli()


@cli.command()
def up() -> None:
    """Start everything on this machine: a Redis server (or REDIS_URL), the front end, workers."""

    def say(message: str) -> None:
        sys.stderr.write(f"rise-serve: {message}\n")

    try:
        run_everything(Settings(), say=say, when_ready=_greet)
    except CannotStart as reason:
        say(str(reason))
        raise typer.Exit(1) from reason


def _greet(address: str, redis_url: str) -> None:
    """Print the address and two commands that show what the service does."""
    sample = Path(__file__).resolve().parents[1] / SAMPLE
    shown = sample.relative_to(Path.cwd()) if sample.is_relative_to(Path.cwd()) else sample
    lines = [f"rise-serve is ready at {address} (interactive documentation: {address}/docs)"]
    try:
        catalogue = Catalogue(tuple(announcements(connect(redis_url))))
        request = build_request(catalogue, Question(model="shapes"), {})
        explanation_id = fingerprint(request, hashlib.sha256(sample.read_bytes()).hexdigest(), PUBLIC)
        lines += [
            "",
            "Explain a sample photograph, then look at what the model looked at:",
            "",
            f"  curl -F image=@{shown} -F model=shapes -H 'Prefer: wait=60' {address}/v1/explanations",
            f"  curl -o overlay.png {address}/v1/explanations/{explanation_id}/maps/0.overlay.png",
            "",
        ]
    except (RiseError, OSError):
        lines.append(f"models: {address}/v1/models")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


@cli.command()
def api() -> None:
    """Run the front end alone, against REDIS_URL."""
    settings = Settings()
    uvicorn.run(create_app(settings), host=settings.host, port=settings.port, access_log=False)


@cli.command()
def worker() -> None:
    """Run one worker, against REDIS_URL."""
    os.execv(sys.executable, [sys.executable, "-m", "workers", "worker"])  # noqa: S606 - our own module


@cli.command()
def models(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Load every model of the models file and say what it is."""
    found = subprocess.run([sys.executable, "-m", "workers", "models"], stdout=subprocess.PIPE, check=False)
    if found.returncode:
        raise typer.Exit(found.returncode)
    if as_json:
        sys.stdout.write(found.stdout.decode())
        return
    table = Table("model", "task", "input", "labels", "state")
    for card in json.loads(found.stdout):
        size = "any" if card["input_size"] is None else "{} x {}".format(*card["input_size"])
        labels = ", ".join(card["labels"][:6]) + (", ..." if len(card["labels"]) > 6 else "")
        table.add_row(card["id"], card["task"], size, labels, card["reason"] or card["state"])
    Console().print(table)


@cli.command()
def explain(  # noqa: PLR0913, PLR0917 - these are options of a command
    image: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)],
    model: Annotated[str, typer.Option(help="Id of a model in the models file.")],
    out: Annotated[Path, typer.Option(help="Folder for the maps.")] = Path("result"),
    method: Annotated[str | None, typer.Option(help="rise, ...; the default fits the model.")] = None,
    target: Annotated[list[str] | None, typer.Option(help="A label, or top:N; may be repeated.")] = None,
    masks: Annotated[int | None, typer.Option(help="Upper bound of masks.")] = None,
    until: Annotated[float | None, typer.Option(help="Stop at this reliability.")] = None,
    parameter: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any other parameter; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Explain an image on this machine, without a server; write the map as .npz and the overlay."""
    fields = {"model": model, "method": method, "targets": _targets(target), "masks": masks, "until": until}
    fields |= {name: _value(value) for name, _, value in (text.partition("=") for text in parameter or [])}
    given = {name: value for name, value in fields.items() if value is not None}
    with tempfile.TemporaryDirectory(prefix="rise-") as folder:
        command = [sys.executable, "-m", "workers", "explain", str(image), "--into", folder]
        code = subprocess.run([*command, "--fields", json.dumps(given)], check=False).returncode
        if code:
            raise typer.Exit(code)
        record = Record.model_validate_json((Path(folder) / "record.json").read_text())
        files = _write_maps(record, Blobs(Path(folder).as_uri()), out)
    _print_json(record, files) if as_json else _print_table(record, files)


def _targets(given: list[str] | None) -> Any:
    if not given:
        return None
    if len(given) == 1 and given[0].startswith("top:"):
        return given[0]
    return [{"label": int(label) if label.isdigit() else label} for label in given]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _write_maps(record: Record, blobs: Blobs, out: Path) -> list[dict[str, str]]:
    """Write the archive and the overlay of every target; return their paths."""
    out.mkdir(parents=True, exist_ok=True)
    files = []
    for target in record.targets:
        sheet = sheet_of(record, blobs, target.index, max_side=None)
        paths = {ending: out / f"{target.index}.{ending}" for ending in ("npz", "overlay.png")}
        for ending, path in paths.items():
            path.write_bytes(formats()[ending].encode(sheet, Style()))
        files.append({ending.partition(".")[0]: str(path) for ending, path in paths.items()})
    return files


def _print_json(record: Record, files: list[dict[str, str]]) -> None:
    targets = [
        {**target.model_dump(mode="json"), "files": paths} for target, paths in zip(record.targets, files, strict=True)
    ]
    summary = record.model_dump(mode="json", include={"request", "provenance", "progress", "image"})
    sys.stdout.write(json.dumps({**summary, "targets": targets}) + "\n")


def _print_table(record: Record, files: list[dict[str, str]]) -> None:
    table = Table("target", "score", "reliability", "peak (x, y)", "overlay")
    for target, paths in zip(record.targets, files, strict=True):
        peak = "-" if target.peak is None else "{:.0f}, {:.0f}".format(*target.peak)
        reliability = "-" if target.reliability is None else f"{target.reliability:.3f}"
        score = "-" if target.score is None else f"{target.score:.3f}"
        table.add_row(target.name or "-", score, reliability, peak, paths["overlay"])
    Console().print(table)
