"""`rise-serve`: start the service, or explain an image without one.

Commands that compute are handed over to `python -m workers`; this process never imports it.
"""

import hashlib
import os
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer
import uvicorn
from redis.exceptions import RedisError

from app.auth.principal import PUBLIC
from app.cli.bind_check import require_auth_on_public_bind
from app.cli.check import check
from app.cli.explain import explain
from app.cli.keys import keys_cli
from app.cli.kserve.command import kserve
from app.cli.models import models, predict
from app.cli.openapi import openapi
from app.cli.single_machine.managed_process import StartupError
from app.cli.single_machine.up import STREAMS_END_SECONDS
from app.cli.single_machine.up import up as run_everything
from app.cli.survey import survey
from app.cli.uvicorn_protocol import FairH11Protocol
from app.cli.worker_cli import worker_command
from app.contract.errors import RiseError
from app.contract.redis.client import connect
from app.contract.schemas import ExplanationParams
from app.contract.settings import Settings
from app.contract.worker_registry import announcements
from app.explanations.catalogue import Catalogue
from app.explanations.service import fingerprint
from app.webhooks.main import run_webhooks

cli = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
cli.add_typer(keys_cli, name="keys")

SAMPLE = Path("workers/demo/samples/star.jpg")


def main() -> None:
    """Run the command line; end with a sentence where something on this machine is in the way."""
    try:
        cli()
    except StartupError as reason:
        _say(str(reason))
        sys.exit(1)


@cli.command()
def up(
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser when it is ready.")] = False,
) -> None:
    """Start everything on this machine: a Redis server (or REDIS_URL), the front end, workers."""
    settings = Settings()
    require_auth_on_public_bind(settings, _say)

    def when_ready(address: str, redis_url: str) -> None:
        greet(address, redis_url, keys=settings.keys == "on")
        if open_browser and not webbrowser.open(address):
            _say(f"no browser was found; open {address}")

    run_everything(settings, say=_say, when_ready=when_ready)


def _say(message: str) -> None:
    sys.stderr.write(f"rise-serve: {message}\n")


def greet(address: str, redis_url: str, *, keys: bool) -> None:
    """Print the page's address and two commands that show what the service does; less where Redis does not answer."""
    sample = Path(__file__).resolve().parents[2] / SAMPLE
    shown = sample.relative_to(Path.cwd()) if sample.is_relative_to(Path.cwd()) else sample
    lines = [f"rise-serve is ready at {address} (open it in a browser; documentation of the API: {address}/docs)"]
    try:
        catalogue = Catalogue(tuple(announcements(connect(redis_url))))
        request = catalogue.resolve(ExplanationParams(model="shapes"), {}).request
        explanation_id = fingerprint(request, hashlib.sha256(sample.read_bytes()).hexdigest(), PUBLIC)
        explanation_id = "ID" if keys else explanation_id  # because a key's tenant is part of it
        curl = 'curl -H "Authorization: Bearer $KEY"' if keys else "curl"
        lines += ["", "Make a key: KEY=$(rise-serve keys add NAME)"] if keys else []
        lines += [
            "",
            "Explain a sample photograph, then look at what the model looked at:",
            "",
            f"  {curl} -F image=@{shown} -F model=shapes -H 'Prefer: wait=60' {address}/v1/explanations",
            f"  {curl} -o overlay.png {address}/v1/explanations/{explanation_id}/maps/0.overlay.png",
            "",
        ]
    except (RiseError, RedisError, OSError):
        lines.append(f"models: {address}/v1/models")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


@cli.command()
def api() -> None:
    """Run the front end alone, against REDIS_URL."""
    settings = Settings()
    require_auth_on_public_bind(settings, _say)
    uvicorn.run(
        "app.main:create_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        access_log=False,
        proxy_headers=False,  # because app/api/middleware/public_address.py reads those of RISE_TRUSTED_PROXIES
        http=FairH11Protocol,
        timeout_graceful_shutdown=STREAMS_END_SECONDS,
    )


@cli.command()
def worker() -> None:
    """Run one worker, against REDIS_URL."""
    command = worker_command("worker")
    os.execv(command[0], command)  # noqa: S606 - our own module


@cli.command()
def webhooks() -> None:
    """Send signed callbacks, from the outbox at REDIS_URL; several may run."""
    try:
        run_webhooks(Settings())
    except ValueError as reason:
        sys.stderr.write(f"rise-serve: {reason}\n")
        raise typer.Exit(1) from reason


for command in (models, predict, explain, check, survey, openapi):
    cli.command()(command)
cli.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})(kserve)
