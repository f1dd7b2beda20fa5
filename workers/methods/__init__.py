"""Methods: what is hidden, and what is scored in a model's outputs. One file per method, the paper cited at its head.

To add one, write `workers/methods/NAME.py` (the file's name is the method's public name) with the members of
`MethodPlugin` (`workers/explainer/method_plugin.py`). The loop, error bars, early stop, checkpoints and rendering are
the same for all. Nothing else has to be registered; the tests try every file in this folder.
"""

import sys
from typing import cast

from app.contract.plugins import plugin, plugin_names
from workers.explainer.method_plugin import MethodPlugin


def method_names() -> tuple[str, ...]:
    """Return the names of all methods."""
    return plugin_names(sys.modules[__name__])


def method(name: str) -> MethodPlugin:
    """Return a method by its name.

    Raises:
        KeyError: if there is no such method.
    """
    return cast(MethodPlugin, plugin(sys.modules[__name__], name))


def default_method(task: str) -> str:
    """Return the name of the method that explains a task unless another one is requested."""
    return next(name for name in method_names() if task in method(name).DEFAULT_FOR)
