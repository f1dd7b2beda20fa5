"""Labelling tools and serving protocols that speak to this service in words of their own: one file per tool.

To add one, write `app/integrations/NAME.py` with

    router = APIRouter(prefix="/integrations/NAME", include_in_schema=False)
    def is_on(settings: Settings) -> bool         whether the operator has set what it needs

A tool that asks fixed paths of its host gets them: its prefix is then another (`cvat`), and none of the API's.

Its routes exist only where it is on, so what nobody uses is no way in. They stand outside of /openapi.json, because
their contract is the tool's and not ours. They create explanations and wait for them through `services.explanations`,
as the API does (`app/api/dependencies.py` has the services, the caller and more): `submit` and `wait`.

What has to live as long as the process, a client or a task beside the routes, belongs into the router's own lifespan,
which finds the services at `app.state.services` and yields what its routes then find in `request.state`. One that needs
more than a file is a folder of the same name. Nothing else has to be registered; no integration knows another.
"""

import sys
from types import ModuleType

from app.contract.plugins import plugin, plugin_names
from app.contract.settings import Settings


def integrations(settings: Settings) -> list[ModuleType]:
    """Return the integrations that the operator has switched on."""
    package = sys.modules[__name__]
    found = [plugin(package, name) for name in plugin_names(package)]
    return [module for module in found if module.is_on(settings)]
