"""`rise-serve survey`: the report of a service about a folder of annotated images."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import httpx2
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from app.cli.explain import reason_of, value_of
from rise_client import Batch, Client, ServiceError

_ENDINGS = {".avif", ".bmp", ".gif", ".heic", ".heif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
_POLL_SECONDS = 1.0


def survey(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Images, in any folder below.")],
    annotations: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="A COCO file of their objects.")],
    model: Annotated[str, typer.Option(help="Id of a model of the service.")],
    out: Annotated[Path, typer.Option(help="Folder for report.html, report.csv and report.json.")] = Path("report"),
    explain: Annotated[str, typer.Option(help="The annotated classes, or those predicted.")] = "annotated",
    parameter: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any other parameter; may be repeated.")
    ] = None,
    server: Annotated[str, typer.Option(envvar="RISE_SERVER", help="The service.")] = "http://127.0.0.1:8000",
    key: Annotated[str | None, typer.Option(envvar="RISE_KEY", help="API key for the service.")] = None,
) -> None:
    """Ask a service which labels a model decides outside of their objects; started again, it goes on."""
    fields = {name: value_of(value) for name, _, value in (text.partition("=") for text in parameter or [])}
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _ENDINGS)
    if not paths:
        sys.stderr.write(f"rise-serve: there are no images in {folder}\n")
        raise typer.Exit(2)
    try:
        with Client(server, key) as client:
            batch = client.survey(paths, annotations=annotations, model=model, explain=explain, **fields)
            _say_errors(batch)
            _show_progress(batch)
            sentences = _write(batch, out)
    except (ServiceError, httpx2.HTTPError, httpx2.InvalidURL) as error:
        sys.stderr.write(f"rise-serve: {reason_of(error, server)}\n")
        raise typer.Exit(2) from error
    console = Console()
    for sentence in [*sentences, f"{out / 'report.html'}"]:
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)


def _say_errors(batch: Batch) -> None:
    """Say which annotations are not used or not explained."""
    summary = batch.data.annotations
    if summary is None:
        return
    for error in summary.errors[:5]:
        sys.stderr.write(f"rise-serve: {error.field}: {error.detail}\n")
    if summary.error_count:
        sys.stderr.write(f"rise-serve: {summary.error_count} entries of the annotations are not used\n")
    if summary.unexplained:
        sys.stderr.write(
            f"rise-serve: objects beyond the 20 targets of an image, not explained: {summary.unexplained}\n"
        )


def _show_progress(batch: Batch) -> None:
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total} images")
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(batch.data.model.id, total=batch.data.total)
        while True:
            bar.update(task, completed=round(batch.data.progress * batch.data.total))
            if batch.data.ended:
                return
            try:
                batch.wait(_POLL_SECONDS)
            except TimeoutError:
                continue


def _write(batch: Batch, out: Path) -> list[str]:
    """Write the files of a report, and return its sentences."""
    report = batch.report()
    out.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = report.model_dump(mode="json")
    (out / "report.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    batch.download(out / "report.html", "report.html")
    batch.download(out / "report.csv", "report.csv")
    return report.sentences
