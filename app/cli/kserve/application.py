"""The front end of `rise-serve kserve`: the service, with KServe's `/v1/models` in the place of its own."""

from fastapi import FastAPI

from app.api.routes import models
from app.contract.settings import Settings
from app.integrations.kserve import root_router
from app.integrations.kserve.errors import error_response
from app.main import ROUTES, front_end


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the front end."""
    routers = [module.router for module in ROUTES if module is not models]
    return front_end(settings or Settings(), [*routers, root_router], refuse=error_response)
