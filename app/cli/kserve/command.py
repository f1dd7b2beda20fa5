"""`rise-serve kserve`: the explainer of an InferenceService, in one container.

KServe's controller says who is explained by arguments that it appends to the container's. They become environment
variables and a models file of one entry, and everything else is `rise-serve up`.
"""

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from app.cli.bind_check import require_auth_on_public_bind
from app.cli.kserve.predictor import parse_predictor_args, render_models_file
from app.cli.single_machine.up import up
from app.contract.settings import Settings

_APPLICATION = "app.cli.kserve.application:create_app"


def kserve(  # noqa: PLR0913, PLR0917 - these are options of a command
    context: typer.Context,
    model_name: Annotated[str, typer.Option("--model_name", help="The InferenceService.")],
    predictor_host: Annotated[str, typer.Option("--predictor_host", help="Where its predictor is.")],
    http_port: Annotated[int, typer.Option("--http_port", help="Port to listen on.")] = 8080,
    workers: Annotated[
        int, typer.Option("--workers", help="Explanations computed at once: one process each, at most one a core.")
    ] = 1,
    predictor_protocol: Annotated[
        str | None, typer.Option("--predictor_protocol", help="v1 or v2; default: v2, or v1 where that is refused.")
    ] = None,
    predictor_use_ssl: Annotated[str, typer.Option("--predictor_use_ssl", help="true: https.")] = "false",
    predictor_request_timeout_seconds: Annotated[
        float | None, typer.Option("--predictor_request_timeout_seconds", help="For one request. Default: 60.")
    ] = None,
    predictor_request_retries: Annotated[
        int | None, typer.Option("--predictor_request_retries", help="While the predictor is away. Default: 10.")
    ] = None,
    models: Annotated[
        Path | None,
        typer.Option("--models", envvar="RISE_MODELS", help="A models file: what [NAME] there says of the model."),
    ] = None,
) -> None:
    """Explain a KServe predictor: `POST /v1/models/NAME:explain`. Its controller gives the first arguments."""
    try:
        predictor = parse_predictor_args(
            {
                "--model_name": model_name,
                "--predictor_host": predictor_host,
                "--predictor_protocol": predictor_protocol,
                "--predictor_use_ssl": predictor_use_ssl,
                "--predictor_request_timeout_seconds": predictor_request_timeout_seconds,
                "--predictor_request_retries": predictor_request_retries,
            }
        )
        text = render_models_file(predictor, models)
    except ValueError as cause:
        _say(str(cause))
        raise typer.Exit(2) from cause
    if context.args:
        _say(f"not known here, and ignored: {' '.join(context.args)}")
    with TemporaryDirectory(prefix="rise-kserve-") as folder:
        file = Path(folder) / "models.toml"
        file.write_text(text)
        _set(RISE_MODELS=str(file), RISE_PORT=str(http_port), RISE_WORKERS=str(_processes(workers)))
        os.environ.setdefault("RISE_HOST", "0.0.0.0")
        os.environ.setdefault("RISE_QUEUE", model_name)  # because explainers of other models may use the same server
        _run(Settings(), f"{model_name}, which {predictor.source} serves")


def _processes(workers: int) -> int:
    """Return how many workers to start: KServe says its container concurrency, which may be 0 for no limit."""
    return max(1, min(workers, os.cpu_count() or 1))


def _set(**variables: str) -> None:
    """Set environment variables, because that is how all processes that are started here learn of settings."""
    os.environ.update(variables)


def _run(settings: Settings, subject: str) -> None:
    require_auth_on_public_bind(settings, _say)
    _say(f"explaining {subject}; ready as soon as that answers")
    up(settings, say=_say, when_ready=lambda address, _: _greet(subject, address), front_end=_APPLICATION)


def _greet(subject: str, address: str) -> None:
    sys.stdout.write(f"rise-serve is ready at {address} and explains {subject}\n")
    sys.stdout.flush()


def _say(message: str) -> None:
    sys.stderr.write(f"rise-serve: {message}\n")
