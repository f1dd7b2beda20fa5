"""Methods: what is hidden, what is asked of a model's outputs. One file per method, the paper cited at its head.

To add one, write `workers/methods/NAME.py` (the file's name is the method's public name) with

    TASKS = ("classification",)          tasks of the models that it explains
    DEFAULT_FOR = ("classification",)    tasks for which it is the default
    class Parameters(MaskingParameters)  its own parameters with limits and descriptions; their JSON Schema is in the
                                         catalogue, its docstring is the method's summary there
    def fills(parameters)                names of its K fills
    def aim(black_box, outputs, asked, canvas, parameters)
                                         the targets, and how outputs of the model become their scores (`Aim`)
    def weigh(parameters)                the estimator as published: scores and masks -> summed map `[R, K, H, W]`
    def scale(parameters, masks)         factor from the mean over masks to the published map

The loop, error bars, early stop, checkpoints and drawing are the same for all. Nothing else has to be registered; the
tests try every file in this folder.
"""

import sys
from types import ModuleType

from app.contract.plugins import plugin, plugin_names


def method_names() -> tuple[str, ...]:
    """Return the names of all methods."""
    return plugin_names(sys.modules[__name__])


def method(name: str) -> ModuleType:
    """Return a method by its name.

    Raises:
        KeyError: if there is no such method.
    """
    return plugin(sys.modules[__name__], name)


def default_method(task: str) -> str:
    """Return the name of the method that explains a task unless another one is asked for."""
    return next(name for name in method_names() if task in method(name).DEFAULT_FOR)
