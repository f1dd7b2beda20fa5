"""`python -m workers`: serve models, or explain one image without a server. Part of `rise-serve`."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from app.contract.errors import RiseError
from app.contract.images.decoding import decode
from app.contract.schemas import Progress as MaskProgress
from app.contract.settings import Settings
from workers.blackbox.device import choose_device
from workers.execution.local_run import explain_locally
from workers.execution.model_check import check_model
from workers.explainer.prediction import predict_image
from workers.main import run_worker
from workers.registry.heartbeat import method_cards
from workers.registry.model_registry import ModelRegistry
from workers.registry.models_file import ModelsFileError
from workers.supervision.current_attempt import model_call

cli = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@cli.command()
def worker() -> None:
    """Serve the models of the models file until asked to stop."""
    run_worker(Settings())


@cli.command()
def models() -> None:
    """Load every model and print its catalogue entry, as JSON."""
    registry = _registry()
    registry.load_all()
    sys.stdout.write(json.dumps([card.model_dump(mode="json") for card in registry.cards()]) + "\n")


@cli.command()
def methods() -> None:
    """Print the catalogue entry of every method, as JSON."""
    sys.stdout.write(json.dumps([card.model_dump(mode="json") for card in method_cards()]) + "\n")


@cli.command()
def predict(image: Path, model: Annotated[str, typer.Option()], limit: Annotated[int, typer.Option()] = 10) -> None:
    """Print the predictions of a model for an image, as JSON."""
    registry = _registry()
    with _exit_on_error():
        content, black_box = image.read_bytes(), registry.get(model).black_box
        with model_call(model):
            found = predict_image(black_box, decode(content), limit=limit)
    sys.stdout.write(json.dumps([one.model_dump(mode="json") for one in found]) + "\n")


@cli.command()
def check(
    model: str,
    photos: list[Path],
    into: Annotated[Path, typer.Option(help="An existing folder.")],
) -> None:
    """Print what a model is and sees in photographs, and what looks wrong, as JSON; leave pictures in a folder."""
    registry = _registry()
    with _exit_on_error():
        loaded = registry.get(model)
        with model_call(model):
            warnings, checks = check_model(loaded, photos, into)
        (card,) = [card for card in registry.cards() if card.id == model]
    found = {"model": card, "warnings": warnings, "photos": checks}
    sys.stdout.write(json.dumps(found, default=lambda value: value.model_dump(mode="json")) + "\n")


@cli.command()
def explain(
    image: Path,
    fields: Annotated[str, typer.Option(help="The request's fields as JSON.")],
    into: Annotated[Path, typer.Option(help="An existing folder.")],
) -> None:
    """Explain an image; write `record.json` and blobs of image and effects into a folder."""
    request, registry = json.loads(fields), _registry()
    with _exit_on_error(), _progress_bar() as bar:
        task = bar.add_task(request["model"], total=None, rate="", reliability="")

        def report(progress: MaskProgress) -> None:
            reliability = "-" if progress.reliability is None else f"{progress.reliability:.3f}"
            rate = f"{progress.masks_per_second or 0:,.0f}"
            bar.update(task, total=progress.total, completed=progress.masks, rate=rate, reliability=reliability)

        model = registry.get(request["model"])
        record = explain_locally(model, image.read_bytes(), request, into, report)
    (into / "record.json").write_text(record.model_dump_json())


@contextmanager
def _exit_on_error() -> Iterator[None]:
    """Exit with code 2 and one line for an error of the request, the image or the model."""
    try:
        yield
    except (RiseError, ValueError, OSError) as error:
        sys.stderr.write(f"rise-serve: {error}\n")
        raise typer.Exit(2) from error


def _registry() -> ModelRegistry:
    settings = Settings()
    return ModelRegistry(settings.models, choose_device(settings.device))


def _progress_bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} masks  {task.fields[rate]}/s  "),
        TextColumn("reliability {task.fields[reliability]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def main() -> None:
    """Run the command line; exit with one line for an invalid models file."""
    try:
        cli()
    except ModelsFileError as error:
        sys.stderr.write(f"rise-serve: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
