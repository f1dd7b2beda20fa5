"""What does not fit between an entry and a server of the Open Inference Protocol is refused in words."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.workers.models.explaining import collection_of, reason_of
from tests.workers.models.inference_server import Array, ServedModel, serve
from tests.workers.models.served_shapes import LABELS, PREPROCESSING, SHAPE, classify, remote

REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "too few labels": ({"more": "", "labels": '["one", "two"]'}, "labels: 2 names for the model's 6 classes"),
    "no such model": ({"path": "other"}, "/v2/models/other answered 404"),
    "no model in the address": ({"path": ""}, "write it as http://host:port/v2/models/NAME"),
    "another input": ({"options": 'input = "x"'}, "options.input = 'x': the model takes pixels"),
    "another size": ({"more": "preprocessing.size = 64"}, "answered 400"),
    "an unknown output": ({"more": 'outputs.scores = "x"'}, "outputs.scores = 'x': the model has logits"),
    "a variable that is not set": (
        {"options": 'headers_from_environment = { Authorization = "NOT_SET" }'},
        "options.headers_from_environment: NOT_SET is not set",
    ),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_what_does_not_fit_is_refused_when_the_model_is_loaded(refusal: str, tmp_path: Path) -> None:
    changes, words = REFUSALS[refusal]
    with serve({"remote": ServedModel(classify, SHAPE)}) as server:
        text = remote(server.url, more=changes.get("more", ""), options=changes.get("options", ""))
        if changes.get("more", "").startswith("preprocessing"):
            text = text.replace(PREPROCESSING, "")
        text = text.replace("/v2/models/remote", f"/v2/models/{changes.get('path', 'remote')}")
        text = text.replace(f"labels = {LABELS}", f"labels = {changes.get('labels', LABELS)}")
        assert words in reason_of(tmp_path, text)


def test_probabilities_are_not_taken_for_raw_scores(tmp_path: Path) -> None:
    def probable(pictures: Array) -> dict[str, Array]:
        return {"output": torch.from_numpy(classify(pictures)["logits"]).softmax(1).numpy()}

    with serve({"remote": ServedModel(probable, SHAPE)}) as server:
        (card,) = collection_of(tmp_path, remote(server.url)).cards()
        assert {(one.what, one.value, one.source) for one in card.assumptions} >= {
            ("outputs.activation", "probabilities", "checked")
        }
        more = 'outputs.activation = "softmax"'
        assert 'applied twice: write activation = "probabilities"' in reason_of(tmp_path, remote(server.url, more=more))


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("workers.remote.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "httpx2", None)
    assert "needs httpx2; install it: pip install 'rise-serve[open-inference]'" in reason_of(
        tmp_path, remote("http://127.0.0.1:9")
    )


def test_a_password_in_the_address_is_refused_and_not_repeated(tmp_path: Path) -> None:
    reason = reason_of(tmp_path, remote("http://me:secret@127.0.0.1:9"))
    assert "name no user and password in the address" in reason
    assert "secret" not in reason


def test_headers_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_OF_THE_SERVER", "Bearer very-secret")
    options = 'headers_from_environment = { Authorization = "TOKEN_OF_THE_SERVER" }\nheaders = { x-team = "vision" }'
    with serve({"remote": ServedModel(classify, SHAPE)}) as server:
        collection_of(tmp_path, remote(server.url, options=options))
    assert {one.headers["authorization"] for one in server.log} == {"Bearer very-secret"}
    assert {one.headers["x-team"] for one in server.log} == {"vision"}
