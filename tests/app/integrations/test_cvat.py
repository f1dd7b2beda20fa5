"""The service as CVAT's Nuclio: whole services, real workers, calls as CVAT makes them."""

import asyncio
import base64
import time
from collections.abc import Iterator
from typing import Any, cast

import httpx2
import numpy as np
import pytest
from cvat_sdk.masks import encode_mask
from fastapi.routing import iter_route_contexts
from PIL import Image

from app.auth.principal import ANONYMOUS
from app.contract.errors import RiseError
from app.contract.schemas import ModelCard
from app.contract.settings import Settings
from app.integrations.cvat.annotations import crop_to_content, mask_digits
from app.integrations.cvat.invocation import Invocation, deadline_of
from app.integrations.cvat.nuclio_functions import describe, functions_of
from app.main import create_app
from app.services import Services
from tests.app.integrations.test_label_studio import STAR, TRIANGLE, wait_until_all_models_are_ready
from tests.conftest import SAMPLES, Service, start_service, stop_service
from tests.support.api_keys import new_key
from tests.support.fake_cvat import Cvat, parsed, share_on, stored
from tests.support.hostile_images import encoded

SEVERAL = (SAMPLES / "several.jpg").read_bytes()
SIZE = (480, 360)


@pytest.fixture(scope="module")
def cvat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cvat]:
    parameters = {"RISE_CVAT": "true", "RISE_CVAT_PARAMETERS": '{"masks": 2000}'}
    service = start_service(tmp_path_factory.mktemp("cvat") / "data", **parameters)
    wait_until_all_models_are_ready(service.url)
    with httpx2.Client(base_url=service.url, timeout=120) as http:
        yield Cvat(http)
    stop_service(service)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, str]]:
    """A service with keys that keeps nobody waiting, and the secret of one."""
    more = {"RISE_CVAT": "true", "RISE_KEYS": "on", "RISE_MAX_WAIT_SECONDS": "0"}
    service = start_service(tmp_path_factory.mktemp("guarded") / "data", **more)
    secret = new_key(service, "cvat", "--tenant", "annotators", "--scope", "explain")
    reader = new_key(service, "reader", "--scope", "read")
    wait_until_all_models_are_ready(service.url, reader)
    yield service, secret
    stop_service(service)


def test_a_service_that_is_not_switched_on_is_no_nuclio() -> None:
    def paths(settings: Settings) -> set[str]:
        return {str(route.path) for route in iter_route_contexts(create_app(settings).routes)}

    mine = {"/api/functions", "/api/functions/{name}", "/api/function_invocations"}
    assert not paths(Settings()) & mine
    assert mine <= paths(Settings(cvat=True))


def test_every_model_is_several_functions_that_cvat_can_read(cvat: Cvat) -> None:
    found = cvat.functions()
    kinds = {"shapes.seen": "tag", "shapes-detector.seen": "rectangle", "shapes.saliency-50": "mask"}
    for name, kind in kinds.items():
        assert {label["type"] for label in found[name]["labels"]} == {kind}
        assert {"star", "ring", "triangle"} <= {label["name"] for label in found[name]["labels"]}
        assert cvat.function(name) == found[name]
    inside = found["shapes-detector.inside"]
    assert (inside["kind"], inside["startswith_box"], inside["min_pos_points"]) == ("interactor", True, 0)
    assert cvat.call("GET", "/api/functions/nobody.seen").status_code == 404


def test_a_model_with_two_classes_of_one_name_has_the_label_once_and_one_that_is_not_ready_has_none() -> None:
    crane = ModelCard(id="m", task="classification", labels=["crane", "dog", "crane"], state="ready")
    found = functions_of([crane, crane.model_copy(update={"id": "n", "state": "loading"})])
    assert {function.model.id for function in found.values()} == {"m"}
    labels = parsed(describe(found["m.seen"], 8000))["labels"]
    assert [label["name"] for label in labels] == ["crane", "dog"]


def test_boxes_of_a_detector_are_rectangles_above_the_threshold(cvat: Cvat) -> None:
    sure = cvat.detect("shapes-detector.seen", SEVERAL, threshold=0.7)
    assert [shape.label for shape in sure] == ["star", "star"]
    for shape, (centre, radius) in zip(sure, [((345, 80), 48), ((95, 95), 58)], strict=True):
        x0, y0, x1, y1 = shape.annotation.points
        assert np.hypot((x0 + x1) / 2 - centre[0], (y0 + y1) / 2 - centre[1]) < radius / 3
        assert shape.confidence >= 0.7
        assert shape.attributes["score"] == f"{shape.confidence:.3f}"
    assert len(cvat.detect("shapes-detector.seen", SEVERAL, threshold=0.1)) > 2


def test_the_class_of_a_classifier_is_a_tag(cvat: Cvat, star: bytes) -> None:
    (tag,) = cvat.detect("shapes.seen", star)
    assert (tag.label, tag.annotation.label_id) == ("star", 1)
    assert cvat.detect("shapes.seen", star, threshold=1) == []


def test_a_saliency_mask_lies_on_the_object_and_the_smaller_level_inside_of_the_larger(cvat: Cvat, star: bytes) -> None:
    masks = [cvat.detect(f"shapes.saliency-{level}", star, threshold=0.5) for level in (50, 80)]
    assert [[shape.label for shape in found] for found in masks] == [["star"], ["star"]]
    small, large = (found[0].mask(*SIZE) for found in masks)
    assert share_on(small, STAR) > 0.9
    assert small.sum() < large.sum()
    assert not (small & ~large).any()
    assert float(masks[0][0].attributes["reliability"]) > 0.5


def test_each_detection_has_a_mask_of_its_own(cvat: Cvat) -> None:
    found = cvat.detect("shapes-detector.saliency-50", SEVERAL, threshold=0.7)
    assert len(found) == 2
    for shape, place in zip(found, [((345, 80), 48), ((95, 95), 58)], strict=True):
        assert share_on(shape.mask(*SIZE), place) > 0.9


def test_an_interactor_shows_what_speaks_in_the_box_that_was_drawn(cvat: Cvat) -> None:
    corners = [[77, 227], [183, 335]]
    mask = cvat.interact("shapes-detector.inside", SEVERAL, obj_bbox=corners)
    assert mask.shape == SIZE[::-1]
    assert share_on(mask, TRIANGLE) > 0.7
    older = cvat.interact("shapes-detector.inside", SEVERAL, pos_points=corners)
    assert np.array_equal(mask, older)


def test_an_interactor_of_a_classifier_shows_nothing_outside_of_the_box(cvat: Cvat, star: bytes) -> None:
    mask = cvat.interact("shapes.inside", star, obj_bbox=[[360, 0], [480, 360]])
    assert mask.any()
    assert not mask[:, :360].any()


def test_an_image_in_which_nothing_is_detected_has_no_masks(cvat: Cvat) -> None:
    blank = encoded(Image.new("RGB", (64, 48)), "PNG")
    assert cvat.detect("shapes-detector.saliency-50", blank) == []
    assert cvat.detect("shapes-detector.seen", blank) == []


@pytest.mark.parametrize(
    ("wrong", "status", "code"),
    [
        ({"image": None}, 422, "invalid-parameters"),
        ({"image": 7}, 422, "invalid-parameters"),
        ({"image": "####"}, 422, "invalid-parameters"),
        ({"image": "ä" * 100}, 422, "invalid-parameters"),
        ({"image": base64.b64encode(b"no image").decode()}, 422, "unreadable-image"),
        ({"threshold": 2}, 422, "invalid-parameters"),
        ({"threshold": "much"}, 422, "invalid-parameters"),
        ({"obj_bbox": [[0, 0], [1e300, 1]]}, 422, "invalid-parameters"),
        ({"obj_bbox": [[500, 0], [600, 100]]}, 422, "invalid-parameters"),
        ({"obj_bbox": None}, 422, "invalid-parameters"),
        ({"obj_bbox": [[0, 0]]}, 422, "invalid-parameters"),
        ({"pos_points": [[0, 0]] * 1001}, 422, "invalid-parameters"),
        ({"image": "A" * 40_000_000}, 413, "request-too-large"),
    ],
)
def test_a_hostile_body_is_refused_and_named(cvat: Cvat, wrong: dict[str, Any], status: int, code: str) -> None:
    body = {"image": base64.b64encode(SEVERAL).decode(), "obj_bbox": [[77, 227], [183, 335]], **wrong}
    headers = {"x-nuclio-function-name": "shapes-detector.inside"}
    answer = cvat.call("POST", "/api/function_invocations", body, **headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


@pytest.mark.parametrize("content", [b"", b"[]", b"[" * 100_000, b'{"image": NaN}', b"\xff"])
def test_what_is_no_json_object_is_refused(cvat: Cvat, content: bytes) -> None:
    headers = {"x-nuclio-function-name": "shapes.seen"}
    assert cvat.http.post("/api/function_invocations", content=content, headers=headers).status_code == 400


def test_a_decompression_bomb_is_refused(cvat: Cvat) -> None:
    bomb = encoded(Image.new("1", (20_000, 20_000)), "PNG")
    answer = cvat.invoke("shapes.seen", bomb)
    assert (answer.status_code, answer.json()["code"]) == (413, "image-too-large")


def test_an_invocation_of_nobody_is_not_found(cvat: Cvat, star: bytes) -> None:
    for name in ("", "shapes", "shapes.nothing", "nobody.seen"):
        assert cvat.invoke(name, star).status_code == 404


def test_without_a_key_nothing_is_answered_and_a_key_in_the_host_is_enough(guarded: tuple[Service, str]) -> None:
    service, secret = guarded
    asked = [("GET", "/api/functions"), ("GET", "/api/functions/shapes.seen"), ("POST", "/api/function_invocations")]
    for host in ("", "cvat:wrong@"):
        with httpx2.Client(base_url=service.url.replace("://", f"://{host}")) as http:
            assert [Cvat(http).call(verb, path, {}).status_code for verb, path in asked] == [401] * 3
    with httpx2.Client(base_url=service.url.replace("://", f"://cvat:{secret}@")) as http:
        assert "shapes.seen" in Cvat(http).functions()


def test_what_is_not_finished_in_time_goes_on_and_the_same_call_finds_it(
    guarded: tuple[Service, str], star: bytes
) -> None:
    service, secret = guarded
    with httpx2.Client(base_url=service.url, auth=("cvat", secret)) as http:
        answer = Cvat(http).invoke("shapes.saliency-50", star)
        assert (answer.status_code, answer.json()["code"]) == (503, "busy")
        assert "Retry-After" in answer.headers
        log = (service.data.parent / f"{service.data.name}.log").read_text()
        assert "CVAT's call of 'shapes.saliency-50': explanation" in log
        deadline = time.monotonic() + 60
        while Cvat(http).invoke("shapes.saliency-50", star).status_code == 503:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert len(Cvat(http).detect("shapes.saliency-50", star)) == 1


@pytest.mark.parametrize(("told", "seconds"), [("120s", 60), ("10s", 8), (None, 60), ("soon", 60), ("9999999s", 60)])
def test_cvat_is_kept_waiting_for_less_than_it_waits(told: str | None, seconds: float) -> None:
    assert deadline_of(told, 60) - time.monotonic() == pytest.approx(seconds, abs=0.5)


def test_what_may_pass_is_tried_again_until_the_time_is_up_and_what_may_not_is_not() -> None:
    def attempts(code: str, again: float | None, until: float) -> int:
        tried = 0

        async def attempt() -> None:
            nonlocal tried
            tried += 1
            raise RiseError(code, "no", retry_after_seconds=again)

        invocation = Invocation(cast(Services, None), ANONYMOUS, time.monotonic() + until)
        with pytest.raises(RiseError, match="no"):
            asyncio.run(invocation.retry(attempt))
        return tried

    assert attempts("busy", 0.0, 1.2) in {2, 3}
    assert attempts("busy", 30, 1.2) == attempts("unreadable-image", None, 60) == 1


def test_the_tiny_mask_has_the_code_that_was_read_from_cvats_sources() -> None:
    mask = np.array([[0, 0, 1, 1], [0, 1, 1, 0], [0, 0, 0, 0]], dtype=bool)
    part, corners = crop_to_content(mask)
    cells = [int(cell) for cell in mask_digits(part).split(b",")]
    item = {"type": "mask", "label": "star", "confidence": "1", "mask": [*cells, *corners]}
    assert stored(item, "mask").annotation.points == encode_mask(mask) == [1, 4, 1, 1, 0, 3, 1]


def test_a_mask_is_sent_row_by_row_with_the_pixels_at_its_edges() -> None:
    part, corners = crop_to_content(np.array([[0, 0, 0, 0], [1, 1, 1, 0], [0, 0, 1, 0]], dtype=bool))
    assert (mask_digits(part), corners) == (b"1,1,1,0,0,1", [0, 1, 2, 2])
    assert crop_to_content(np.zeros((3, 4), dtype=bool))[0].size == 0
