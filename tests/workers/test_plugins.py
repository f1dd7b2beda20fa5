"""Every plug-in of the workers has the interface of its kind: mypy checks the lists, tests that they are complete."""

from collections.abc import Sequence
from typing import cast

import pytest
from pydantic import ValidationError

from app.contract.plugins import plugin_names
from workers import fills, methods, models
from workers.explainer.method_plugin import MethodPlugin
from workers.fills import FillPlugin, black, blur, grey, mean, model_mean, noise, white
from workers.methods import drise, mc_rise, rise
from workers.model_io.model_entry import ModelEntry
from workers.models import (
    LoaderPlugin,
    exported,
    http_labels,
    onnx,
    open_inference,
    python,
    timm,
    torchvision,
    transformers,
)

METHODS: list[MethodPlugin] = [drise, mc_rise, rise]
FILLS: list[FillPlugin] = [black, blur, grey, mean, model_mean, noise, white]
LOADERS: list[LoaderPlugin] = [exported, http_labels, onnx, open_inference, python, timm, torchvision, transformers]


def public_names(plugins: Sequence[object]) -> list[str]:
    return [cast(str, vars(one)["__name__"]).rpartition(".")[2].replace("_", "-") for one in plugins]


def test_every_method_has_the_interface_of_methods() -> None:
    assert public_names(METHODS) == list(plugin_names(methods))


def test_every_fill_has_the_interface_of_fills() -> None:
    assert public_names(FILLS) == list(plugin_names(fills))


def test_every_loader_has_the_interface_of_loaders() -> None:
    assert public_names(LOADERS) == list(plugin_names(models))


@pytest.mark.parametrize("loader", plugin_names(models))
def test_an_option_that_a_loader_does_not_have_is_refused_before_its_library_is_needed(loader: str) -> None:
    with pytest.raises(ValidationError, match="no-such-option"):
        models.check_entry(ModelEntry(loader=loader, source="x", options={"no-such-option": 1}))
