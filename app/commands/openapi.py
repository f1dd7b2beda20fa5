"""`rise-serve openapi`: the OpenAPI document, without a running service."""

import json
import sys

from app.commands.models import by_worker
from app.contract.schemas import MethodCard
from app.contract.settings import Settings
from app.document import document
from app.main import create_app


def openapi() -> None:
    """Print the OpenAPI document with the methods that workers from here would offer. Needs no server."""
    methods = [MethodCard.model_validate(card) for card in by_worker("methods")]
    sys.stdout.write(json.dumps(document(create_app(Settings()), methods), indent=1) + "\n")
