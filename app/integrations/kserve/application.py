"""The front end of `rise-serve kserve`: the service, with KServe's `/v1/models` in the place of its own."""

from fastapi import FastAPI

from app.contract.settings import Settings
from app.integrations.kserve import at_the_root
from app.integrations.kserve.words import refusal
from app.main import ROUTES, front_end
from app.routes import catalogue


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the front end."""
    routers = [module.router for module in ROUTES if module is not catalogue]
    return front_end(settings or Settings(), [*routers, at_the_root], refuse=refusal)
