"""A folder is a registry, a file in it is a plug-in, and the file's name is its public name.

`model_mean.py` is `"model-mean"`: dashes outside, underscores in the file system.
"""

import importlib
import pkgutil
from types import ModuleType


def plugin_names(package: ModuleType) -> tuple[str, ...]:
    """Return the public names of the plug-ins in a package, sorted, without importing them."""
    found = (module.name for module in pkgutil.iter_modules(package.__path__))
    return tuple(sorted(name.replace("_", "-") for name in found if not name.startswith("_")))


def plugin(package: ModuleType, name: str) -> ModuleType:
    """Import one plug-in by its public name.

    Raises:
        KeyError: if the package has no such file.
    """
    if name not in plugin_names(package):
        raise KeyError(name)
    return importlib.import_module(f"{package.__name__}.{name.replace('-', '_')}")
