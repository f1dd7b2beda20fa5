"""Adapters for labelling tools and serving protocols: one file or package per tool.

To add one, write `app/integrations/NAME.py` with

    router = APIRouter(prefix="/integrations/NAME", include_in_schema=False)
    def is_on(settings: Settings) -> bool         whether the operator has set what it needs

A tool that requests fixed paths has another prefix (`cvat`), which must not collide with the API.

Its routes exist only where it is on, so that an unused integration is no attack surface. They are not in /openapi.json,
because their contract is the tool's. They create explanations and wait for them through `services.explanations`,
as the API does (`app/api/dependencies.py` has the services, the caller and more): `submit` and `wait`.

What lives as long as the process, such as a client or a background task, belongs into the router's own lifespan, which
finds the services at `app.state.services` and yields the `request.state` of its routes. Nothing else has to be
registered; no integration imports another.
"""

import sys
from types import ModuleType

from app.contract.plugins import plugin, plugin_names
from app.contract.settings import Settings


def integrations(settings: Settings) -> list[ModuleType]:
    """Return the integrations that the operator has enabled."""
    package = sys.modules[__name__]
    found = [plugin(package, name) for name in plugin_names(package)]
    return [module for module in found if module.is_on(settings)]
