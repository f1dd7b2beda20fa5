"""Models behind KServe's v1: their maps are those of the same model in this process, and they are told from v2."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.contract.log_context import log_context
from tests.support.loopback import Reply, loopback
from tests.workers.models.explaining import alike, collection_of, map_by, reason_of
from tests.workers.models.inference_server import Array, ServedModel, serve
from tests.workers.models.prediction_server import serve_predictions
from tests.workers.models.served_shapes import LOCAL, SHAPE, classify, detect, remote


def entry(url: str, protocol: str = "/v1", more: str = "", options: str = "") -> str:
    text = remote(url, more=more, options=options).replace("/v2/models", f"{protocol}/models")
    return text.replace("preprocessing = {", "preprocessing = { size = 96,")


def scores(pictures: Array) -> Any:
    return classify(pictures)["logits"].tolist()


@pytest.fixture(scope="module")
def local_map(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Array]:
    """Maps of the local models."""
    folder = tmp_path_factory.mktemp("local")
    collection = collection_of(folder, LOCAL)
    return lambda model, image, **fields: map_by(collection, model, image, folder, **fields)


@pytest.mark.parametrize("protocol", ["/v1", ""], ids=["v1 named", "v2 refused"])
def test_a_classifier_of_v1_has_the_map_of_the_same_model_in_this_process(
    protocol: str, star: bytes, tmp_path: Path, local_map: Callable[..., Array]
) -> None:
    with serve_predictions(scores) as server:
        collection = collection_of(tmp_path, entry(server.url, protocol))
        assert alike(local_map("local", star), map_by(collection, "remote", star, tmp_path))


def test_where_no_protocol_is_named_v2_comes_first(
    star: bytes, tmp_path: Path, local_map: Callable[..., Array]
) -> None:
    with serve({"remote": ServedModel(classify, SHAPE)}) as server:
        collection = collection_of(tmp_path, remote(server.url).replace("/v2/models", "/models"))
        assert alike(local_map("local", star), map_by(collection, "remote", star, tmp_path))
    assert not [asked for asked in server.log if asked.path.startswith("/v1")]


def test_pictures_of_v1_have_their_channels_last_where_the_entry_says_so(
    star: bytes, tmp_path: Path, local_map: Callable[..., Array]
) -> None:
    def channels_last(pictures: Array) -> Any:
        assert pictures.shape[1:] == (96, 96, 3)
        return scores(pictures.transpose(0, 3, 1, 2))

    with serve_predictions(channels_last) as server:
        collection = collection_of(tmp_path, entry(server.url, options='layout = "NHWC"'))
        assert alike(local_map("local", star), map_by(collection, "remote", star, tmp_path))


@pytest.mark.slow
def test_a_detector_of_v1_names_its_outputs_in_each_prediction(
    star: bytes, tmp_path: Path, local_map: Callable[..., Array]
) -> None:
    def rows(pictures: Array) -> Any:
        found = {name: array.tolist() for name, array in detect(pictures).items()}
        return [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]

    with serve_predictions(rows) as server:
        collection = collection_of(tmp_path, entry(server.url).replace("size = 96", "size = 128"))
        assert collection.cards()[0].task == "detection"
        ours = map_by(collection, "remote", star, tmp_path, grid=8)
    assert alike(local_map("local-detector", star, grid=8), ours)


REFUSALS: dict[str, tuple[Callable[[Array], Any], str]] = {
    "labels": (lambda pictures: classify(pictures)["logits"].argmax(1).tolist(), "a label perhaps"),
    "words": (lambda pictures: [["star"]] * len(pictures), "that is no table of numbers"),
    "too few": (lambda _: [], "gave 0 predictions for 12 pictures"),
    "not a number": (lambda pictures: np.full((len(pictures), 6), np.nan).tolist(), "gave NaN in 'predictions'"),
    "an error": (lambda _: Reply(b'{"error": "wrong shape"}', 400), 'answered 400: {"error": "wrong shape"}'),
    "other JSON": (lambda _: Reply(b'{"outputs": []}'), "gave an answer with predictions amiss"),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_what_is_wrong_with_predictions_is_said_with_the_servers_name(refusal: str, tmp_path: Path) -> None:
    predict, words = REFUSALS[refusal]
    with serve_predictions(predict) as server:
        reason = reason_of(tmp_path, entry(server.url))
        assert reason.startswith(f"{server.url}/v1/models/remote:predict ")
        assert words in reason


def test_a_server_that_refuses_both_protocols_is_quoted_on_both(tmp_path: Path) -> None:
    with serve_predictions(lambda _: Reply(b'{"error": "wrong shape"}', 400)) as server:
        reason = reason_of(tmp_path, entry(server.url, ""))
    assert "/v2/models/remote answered 404" in reason
    assert "by v1:" in reason
    assert "wrong shape" in reason


def test_a_server_that_is_down_is_not_asked_by_another_protocol(tmp_path: Path) -> None:
    with serve_predictions(scores) as server:
        url = server.url
    reason = reason_of(tmp_path, entry(url, "", options="retries = 0"))
    assert "/v2/models/remote cannot be reached" in reason
    assert "v1" not in reason


def test_a_server_that_limits_the_rate_is_not_asked_by_another_protocol(tmp_path: Path) -> None:
    with loopback(lambda _: Reply(b"slow down", 429)) as server:
        reason = reason_of(tmp_path, entry(server.url, "", options="retries = 0"))
    assert "/v2/models/remote answered 429: slow down" in reason
    assert "v1" not in reason


def test_the_size_of_pictures_must_be_said_for_v1(tmp_path: Path) -> None:
    with serve_predictions(scores) as server:
        text = entry(server.url).replace("size = 96,", "")
        assert "preprocessing.size: a server of v1 does not say it" in reason_of(tmp_path, text)


def test_the_id_of_a_request_reaches_the_models_server(star: bytes, tmp_path: Path) -> None:
    with serve_predictions(scores) as server:
        collection = collection_of(tmp_path, entry(server.url))
        loaded = len(server.log)
        with log_context(request_id="asked-42"):
            map_by(collection, "remote", star, tmp_path)
    assert {asked.headers["x-request-id"] for asked in server.log[loaded:]} == {"asked-42"}
    assert not [asked for asked in server.log[:loaded] if "x-request-id" in asked.headers]
