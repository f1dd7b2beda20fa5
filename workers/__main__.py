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
from app.contract.images import decode
from app.contract.schemas import Progress as Masks
from app.contract.settings import Settings
from workers.blackbox.device import choose_device
from workers.execution.local_run import explain_locally
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
    """Load every model and print what the catalogue would say, as JSON."""
    collection = _collection()
    collection.load_all()
    sys.stdout.write(json.dumps([card.model_dump(mode="json") for card in collection.cards()]) + "\n")


@cli.command()
def methods() -> None:
    """Print what the catalogue would say of every method, as JSON."""
    sys.stdout.write(json.dumps([card.model_dump(mode="json") for card in method_cards()]) + "\n")


@cli.command()
def predict(image: Path, model: Annotated[str, typer.Option()], limit: Annotated[int, typer.Option()] = 10) -> None:
    """Print what a model sees in an image, as JSON."""
    collection = _collection()
    with _in_words():
        content, black_box = image.read_bytes(), collection.get(model).black_box
        with model_call(model):
            found = predict_image(black_box, decode(content), limit=limit)
    sys.stdout.write(json.dumps([one.model_dump(mode="json") for one in found]) + "\n")


@cli.command()
def explain(
    image: Path,
    fields: Annotated[str, typer.Option(help="The request's fields as JSON.")],
    into: Annotated[Path, typer.Option(help="An existing folder.")],
) -> None:
    """Explain an image; write `record.json` and blobs of image and effects into a folder."""
    request, collection = json.loads(fields), _collection()
    with _in_words(), _bar() as bar:
        task = bar.add_task(request["model"], total=None, rate="", reliability="")

        def report(masks: Masks) -> None:
            reliability = "-" if masks.reliability is None else f"{masks.reliability:.3f}"
            rate = f"{masks.masks_per_second or 0:,.0f}"
            bar.update(task, total=masks.total, completed=masks.masks, rate=rate, reliability=reliability)

        model = collection.get(request["model"])
        record = explain_locally(model, image.read_bytes(), request, into, report)
    (into / "record.json").write_text(record.model_dump_json())


@contextmanager
def _in_words() -> Iterator[None]:
    """End with code 2 and a sentence where something is wrong with the request, the image or the model."""
    try:
        yield
    except (RiseError, ValueError, OSError) as error:
        sys.stderr.write(f"rise-serve: {error}\n")
        raise typer.Exit(2) from error


def _collection() -> ModelRegistry:
    settings = Settings()
    return ModelRegistry(settings.models, choose_device(settings.device))


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} masks  {task.fields[rate]}/s  "),
        TextColumn("reliability {task.fields[reliability]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def main() -> None:
    """Run the command line; end with a sentence where the models file is not as it should be."""
    try:
        cli()
    except ModelsFileError as error:
        sys.stderr.write(f"rise-serve: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
