"""`rise-serve explain`: an image explained on this machine, without a server."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from app.contract.blobs import Blobs
from app.contract.schemas import Record
from app.formats import Style, formats
from app.maps import sheet_of


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
