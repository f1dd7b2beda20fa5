"""What hides where a request does not say: as the model says, told in the answer and a part of its identity."""

from pathlib import Path

import pytest

from app.contract.schemas import Announcement, ExplanationParams, JsonObject, ModelCard
from app.explanations.catalogue import Catalogue
from tests.conftest import SAMPLES
from workers.blackbox import CPU
from workers.execution.local_run import explain_locally
from workers.registry.heartbeat import method_cards
from workers.registry.model_registry import ModelRegistry


def fill_of(default_fill: str | None, parameters: JsonObject, method: str = "rise") -> JsonObject:
    model = ModelCard(id="m", task="classification", digest="d", state="ready", default_fill=default_fill)
    worker = Announcement(
        worker="w",
        queue="q",
        version="1",
        device="cpu",
        models=[model],
        methods=method_cards(),
        fills=["black", "blur"],
    )
    params = ExplanationParams.model_validate({"model": "m", "method": method})
    return Catalogue((worker,)).resolve(params, parameters).request.parameters


@pytest.mark.parametrize(("default_fill", "fill"), [("blur", "blur"), ("black", "black"), (None, "black")])
def test_a_request_without_a_fill_gets_the_model_s(default_fill: str | None, fill: str) -> None:
    by_default = fill_of(default_fill, {})
    assert by_default["fill"] == fill
    assert by_default == fill_of(default_fill, {"fill": fill}), "it is the same request"
    assert fill_of(default_fill, {"fill": "white"})["fill"] == "white"


def test_colours_are_no_fill_that_a_model_chooses() -> None:
    assert "fill" not in fill_of("blur", {}, method="mc-rise")


@pytest.mark.parametrize(("training", "fill"), [("", "blur"), ("trained_with_masks = true", "black")])
def test_the_command_line_takes_the_model_s_fill_as_the_service_does(tmp_path: Path, training: str, fill: str) -> None:
    file = tmp_path / "models.toml"
    file.write_text(f'[m]\nloader = "python"\nsource = "workers.demo.shapes:load"\n{training}\n')
    model, star = ModelRegistry(file, CPU).get("m"), (SAMPLES / "star.jpg").read_bytes()
    record = explain_locally(model, star, {"model": "m", "masks": 128}, tmp_path, lambda _: None)
    assert record.parameters["fill"] == fill
