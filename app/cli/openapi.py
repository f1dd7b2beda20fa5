"""`rise-serve openapi`: the OpenAPI document, without a running service."""

import json
import sys

from app.cli.worker_cli import run_worker_cli
from app.contract.schemas import MethodCard
from app.contract.settings import Settings


def openapi() -> None:
    """Print the OpenAPI document with the methods that workers from here would offer. Needs no server."""
    # Imported here because the front end takes a second to import, and every other command does without it.
    from app.api.openapi_document import build_openapi  # noqa: PLC0415
    from app.main import create_app  # noqa: PLC0415

    methods = [MethodCard.model_validate(card) for card in run_worker_cli("methods")]
    sys.stdout.write(json.dumps(build_openapi(create_app(Settings()), methods), indent=1) + "\n")
