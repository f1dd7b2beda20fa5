"""Models behind the Open Inference Protocol: their maps are those of the same model in this process."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from app.contract.errors import RiseError
from tests.conftest import SAMPLES, start_service, stop_service
from tests.support.loopback import Asked, Reply, loopback
from tests.workers.models.explaining import alike, collection_of, map_by, reason_of
from tests.workers.models.inference_server import Array, ServedModel, Trouble, serve
from tests.workers.models.served_shapes import DETECTOR_SHAPE, LOCAL, PREPROCESSING, SHAPE, classify, detect, remote
from workers.demo.shape_names import SHAPES
from workers.supervision.current_attempt import model_call


@pytest.fixture(scope="module")
def local_map(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Array]:
    """Maps of the local models."""
    folder = tmp_path_factory.mktemp("local")
    collection = collection_of(folder, LOCAL)
    return lambda model, image, **fields: map_by(collection, model, image, folder, **fields)


@pytest.mark.parametrize("binary", [True, False])
def test_a_classifier_has_the_map_of_the_same_model_in_this_process(
    binary: bool, star: bytes, tmp_path: Path, local_map: Callable[..., Array]
) -> None:
    with serve({"remote": ServedModel(classify, SHAPE)}, binary=binary) as server:
        collection = collection_of(tmp_path, remote(server.url))
        assert alike(local_map("local", star), map_by(collection, "remote", star, tmp_path))
        (card,) = collection.cards()
    assert card.task == "classification"
    assert card.input_size == (96, 96)
    assert card.labels == list(SHAPES)


@pytest.mark.parametrize("binary", [True, False])
def test_a_detector_has_the_map_of_the_same_model_in_this_process(
    binary: bool, tmp_path: Path, local_map: Callable[..., Array]
) -> None:
    image = (SAMPLES / "star.jpg").read_bytes()
    with serve({"remote": ServedModel(detect, DETECTOR_SHAPE)}, binary=binary) as server:
        collection = collection_of(tmp_path, remote(server.url))
        assert alike(local_map("local-detector", image, grid=8), map_by(collection, "remote", image, tmp_path, grid=8))
        assert collection.cards()[0].task == "detection"


def test_a_packed_output_is_read_as_the_entry_says(
    tmp_path: Path, star: bytes, local_map: Callable[..., Array]
) -> None:
    def packed(pictures: Array) -> dict[str, Array]:
        found = detect(pictures)
        parts = [found["boxes"] / 128, found["objectness"][..., None], found["scores"]]
        return {"output0": np.concatenate(parts, axis=2).transpose(0, 2, 1)}

    more = 'outputs = { packed = "boxes-objectness-scores", box_unit = "fraction" }'
    with serve({"remote": ServedModel(packed, DETECTOR_SHAPE)}) as server:
        collection = collection_of(tmp_path, remote(server.url, more=more))
        assert alike(local_map("local-detector", star, grid=8), map_by(collection, "remote", star, tmp_path, grid=8))


def test_the_layout_of_the_input_is_read_from_its_shape(
    tmp_path: Path, star: bytes, local_map: Callable[..., Array]
) -> None:
    channels_last = ServedModel(lambda pictures: classify(pictures.transpose(0, 3, 1, 2)), [-1, 96, 96, 3])
    with serve({"remote": channels_last}) as server:
        collection = collection_of(tmp_path, remote(server.url))
        assert alike(local_map("local", star), map_by(collection, "remote", star, tmp_path))


def test_an_input_without_a_batch_takes_one_picture_a_request(
    tmp_path: Path, star: bytes, local_map: Callable[..., Array]
) -> None:
    single = ServedModel(lambda picture: {"logits": classify(picture[None])["logits"][0]}, [3, 96, 96])
    with serve({"remote": single}) as server:
        collection = collection_of(tmp_path, remote(server.url))
        assert alike(local_map("local", star), map_by(collection, "remote", star, tmp_path))


def test_a_fixed_batch_is_always_full(tmp_path: Path, star: bytes, local_map: Callable[..., Array]) -> None:
    fixed = ServedModel(classify, [5, 3, 96, 96])
    with serve({"remote": fixed}) as server:
        collection = collection_of(tmp_path, remote(server.url))
        assert alike(local_map("local", star), map_by(collection, "remote", star, tmp_path))
    assert set(fixed.batches) == {(5, 3, 96, 96)}


def test_requests_hold_no_more_pictures_than_the_options_say(tmp_path: Path, star: bytes) -> None:
    model = ServedModel(classify, SHAPE)
    with serve({"remote": model}) as server:
        collection = collection_of(tmp_path, remote(server.url, options="batch = 7"))
        map_by(collection, "remote", star, tmp_path)
    assert {batch[0] for batch in model.batches} == {1, 2, 5, 7}  # 12 probes are 7 and 5, 128 masks 18 times 7 and 2


def test_whole_numbers_are_pixel_values_up_to_255(tmp_path: Path, star: bytes, local_map: Callable[..., Array]) -> None:
    model = ServedModel(lambda pictures: classify((pictures / 255 - 0.5) / 0.25), SHAPE, datatype="UINT8")
    with serve({"remote": model}) as server:
        collection = collection_of(tmp_path, remote(server.url).replace(PREPROCESSING, ""))
        assert alike(local_map("local", star), map_by(collection, "remote", star, tmp_path), 0.02)


def test_half_precision_travels_as_bytes_or_not_at_all(
    tmp_path: Path, star: bytes, local_map: Callable[..., Array]
) -> None:
    model = ServedModel(classify, SHAPE, datatype="FP16", binary_only=True)
    with serve({"remote": model}) as server:
        collection = collection_of(tmp_path, remote(server.url))
        assert alike(local_map("local", star), map_by(collection, "remote", star, tmp_path), 0.02)
    with serve({"remote": model}, binary=False) as server:
        assert "FP16 travels as binary tensors only" in reason_of(tmp_path, remote(server.url))


def half_of_the_time(number: int, _: Array, outputs: dict[str, Array]) -> Reply | dict[str, Array]:
    """Be busy, break the connection, and be well, now and then slowly."""
    if number % 10 == 9:
        threading.Event().wait(0.2)
    return (outputs, Reply(b"busy", 503), Reply(b"x" * 1000, cut=True), Reply(b"", 502), outputs)[number % 5]


def test_a_server_that_is_busy_slow_and_cuts_connections_gives_the_right_map(
    tmp_path: Path, star: bytes, local_map: Callable[..., Array]
) -> None:
    model = ServedModel(classify, SHAPE, trouble=half_of_the_time)
    with serve({"remote": model}) as server:
        collection = collection_of(tmp_path, remote(server.url, options="retries = 40\nbatch = 16"))
        assert alike(local_map("local", star), map_by(collection, "remote", star, tmp_path))
        assert len(server.asked("/v2/models/remote/infer")) > 2 * (128 / 16)


def from_the_third_request(reply: Callable[[dict[str, Array]], Reply | dict[str, Array]]) -> Trouble:
    return lambda number, _, outputs: reply(outputs) if number >= 3 else outputs


def scores(change: Callable[[Array], Array]) -> Trouble:
    return from_the_third_request(lambda outputs: {"logits": change(outputs["logits"])})


def replied(reply: Reply) -> Trouble:
    return from_the_third_request(lambda _: reply)


def marked(array: Array, value: float) -> Array:
    array[0, 0] = value
    return array


TROUBLES: dict[str, tuple[Trouble, str]] = {
    "rows are missing": (scores(lambda array: array[:2, :5]), "gave shape [2, 5], expected [16, 6]"),
    "classes are missing": (scores(lambda array: array[:, :5]), "gave shape [16, 5], expected [16, 6]"),
    "not a number": (scores(lambda array: marked(array, np.nan)), "gave NaN in 'logits'"),
    "infinite": (scores(lambda array: marked(array, np.inf)), "gave infinity in 'logits'"),
    "an error": (replied(Reply(b'{"error": "cuda is on fire"}', 500)), 'answered 500: {"error": "cuda is on fire"}'),
    "busy for good": (replied(Reply(b"busy", 503)), "answered 503: busy (tried 3 times)"),
    "busy for an hour": (
        replied(Reply(b"busy", 503, {"Retry-After": "3600"})),
        "answered 503: busy (and asks to wait 3600 s)",
    ),
    "somewhere else": (replied(Reply(b"", 307, {"Location": "http://127.0.0.1:9/"})), "answered 307, a redirection"),
    "a page": (replied(Reply(b"<html>welcome</html>")), "gave an answer that is no JSON: '<html>welcome</html>'"),
    "other JSON": (replied(Reply(b'{"predictions": []}')), "gave an answer with outputs amiss: Field required"),
    "cut for good": (replied(Reply(b"x" * 1000, cut=True)), "broke the connection"),
    "silence": (replied(Reply(never=True)), "did not answer within 2 s"),
    "too long": (
        replied(Reply(b"{}", headers={"Inference-Header-Content-Length": "99"})),
        "gave an answer of 2 bytes whose JSON part should be 99 long",
    ),
}


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("binary", [True, False])
def test_whatever_is_wrong_with_an_answer_is_said_with_the_servers_name(
    trouble: str, binary: bool, tmp_path: Path, star: bytes
) -> None:
    happens, words = TROUBLES[trouble]
    model = ServedModel(classify, SHAPE, trouble=happens)
    options = "retries = 2\nanswer_seconds = 2\nbatch = 16\nconcurrency = 1"
    with serve({"remote": model}, binary=binary) as server:
        collection = collection_of(tmp_path, remote(server.url, options=options))
        with pytest.raises(RiseError) as failed, model_call("remote"):
            map_by(collection, "remote", star, tmp_path)
        url = f"{server.url}/v2/models/remote/infer"
    assert failed.value.detail.startswith(f"model 'remote' failed: {url} {words}")


def test_a_server_that_stops_is_named(tmp_path: Path, star: bytes) -> None:
    with serve({"remote": ServedModel(classify, SHAPE)}) as server:
        collection = collection_of(tmp_path, remote(server.url, options="retries = 1"))
    with pytest.raises(
        ValueError, match=rf"{server.url}/v2/models/remote/infer cannot be reached: .*\(tried 2 times\)"
    ):
        map_by(collection, "remote", star, tmp_path)


def test_a_model_that_is_exchanged_under_way_is_not_mixed_with_the_other(tmp_path: Path, star: bytes) -> None:
    model = ServedModel(classify, SHAPE)
    with serve({"remote": model}) as server:
        collection = collection_of(tmp_path, remote(server.url))
        before = collection.get("remote").digest
        model.version = "2"
        with pytest.raises(ValueError, match="answers with version '2' of the model; it was '1' when it was loaded"):
            map_by(collection, "remote", star, tmp_path)
        collection.reload()
        assert collection.get("remote").digest != before
        map_by(collection, "remote", star, tmp_path)


@pytest.mark.slow
def test_a_service_explains_through_troubles_and_says_which_server_failed(
    tmp_path: Path, star: bytes, local_map: Callable[..., Array]
) -> None:
    served = {
        "remote": ServedModel(classify, SHAPE, trouble=half_of_the_time),
        "broken": ServedModel(classify, SHAPE, trouble=TROUBLES["not a number"][0]),
    }
    with serve(served) as server:
        models = tmp_path / "models.toml"
        options = "retries = 40\nbatch = 16"
        models.write_text(remote(server.url, options=options) + remote(server.url, "broken", options=options))
        service = start_service(tmp_path / "data", RISE_MODELS=str(models))
        try:
            right = explained(service.url, "remote", star)
            assert right["status"] == "succeeded", right
            array = np.load(fetched(tmp_path, service.url + right["targets"][0]["links"]["npy"]))
            assert alike(local_map("local", star, masks=256), array)
            wrong = explained(service.url, "broken", star)
        finally:
            stop_service(service)
    assert wrong["status"] == "failed"
    assert (
        wrong["error"]["detail"] == f"model 'broken' failed: {server.url}/v2/models/broken/infer gave NaN in 'logits'"
    )


def explained(url: str, model: str, image: bytes) -> dict[str, Any]:
    data = {"model": model, "masks": "256", "until": "1"}
    answer = httpx2.post(
        f"{url}/v1/explanations", files={"image": image}, data=data, headers={"Prefer": "wait=60"}, timeout=90
    )
    body: dict[str, Any] = answer.json()
    return body


def fetched(folder: Path, url: str) -> Path:
    path = folder / "map.npy"
    path.write_bytes(httpx2.get(url, timeout=30).content)
    return path


def test_a_redirect_is_not_followed_to_another_server(tmp_path: Path) -> None:
    def elsewhere(_: Asked) -> Reply:
        return Reply(b"", 302, {"Location": other.url})

    with loopback(lambda _: Reply(b"{}")) as other, loopback(elsewhere) as server:
        assert "answered 302, a redirection, which is not followed" in reason_of(tmp_path, remote(server.url))
    assert other.log == []


def test_a_reload_keeps_a_model_whose_server_is_away(tmp_path: Path) -> None:
    with serve({"remote": ServedModel(classify, SHAPE)}) as server:
        collection = collection_of(tmp_path, remote(server.url, options="retries = 0"))
    model = collection.get("remote")
    collection.reload()
    assert collection.get("remote") is model
