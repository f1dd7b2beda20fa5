"""Maps in the formats that tools read, copies that stay right, and classes that nobody asked for."""

import io
import json
from typing import Any

import httpx2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as pycoco
from pycocotools.coco import COCO

from app.api.content_negotiation import split_name
from app.contract.errors import RiseError
from app.contract.saliency.rendering import SaliencyMap
from app.contract.schemas import Checkpoint, Failure, Status, TargetResult
from app.rendering.formats import RenderedMap, RenderOptions, coco, formats, mask, png
from app.rendering.renderer import require_meaningful_map, resolve_class
from tests.app.explanations.test_events import endless
from tests.conftest import SAMPLES, Service
from tests.contract.test_store import STATE, a_record
from tests.support.api_requests import explain

TINY = [[0, 0, 1, 1], [0, 1, 1, 0], [0, 0, 0, 0]]
STAR = TargetResult(index=0, label=3, name="star", score=0.5)


def a_sheet(values: Any, fills: int = 1) -> RenderedMap:
    shown = np.array([values] * fills, dtype=np.float32)
    return RenderedMap(
        SaliencyMap(shown, None, 0, None), ["red", "blue"][:fills], STAR, a_record(), lambda: Image.new("L", (1, 1))
    )


def array_of(answer: httpx2.Response) -> NDArray[np.float32]:
    assert answer.status_code == 200, answer.text
    array: NDArray[np.float32] = np.load(io.BytesIO(answer.content))
    return array


@pytest.fixture(scope="module")
def finished(http: httpx2.Client) -> dict[str, Any]:
    """A finished explanation of a star, asked for with the default target."""
    body: dict[str, Any] = explain(http, (SAMPLES / "star.jpg").read_bytes(), seed=801, masks=1024, until=1).json()
    assert body["status"] == "succeeded"
    return body


@pytest.fixture(scope="module")
def here(finished: dict[str, Any]) -> str:
    return str(finished["links"]["self"])


def test_a_coco_file_holds_the_region_as_the_format_s_own_example_does() -> None:
    content = json.loads(coco.encode(a_sheet(TINY), RenderOptions(level=1)))
    (annotation,) = content["annotations"]
    assert annotation["segmentation"] == {"size": [3, 4], "counts": "41110O1"}
    assert annotation["bbox"] == [1, 0, 3, 2]
    assert annotation["area"] == 4
    assert content["categories"] == [{"id": 3, "name": "star"}]


def test_a_coco_file_of_a_map_is_read_by_coco_s_own_tools(http: httpx2.Client, finished: dict[str, Any]) -> None:
    content = http.get(finished["targets"][0]["links"]["coco"], params={"level": 0.3}).json()
    data = COCO()
    data.dataset = content
    data.createIndex()
    (annotation,) = data.loadAnns(data.getAnnIds(catIds=[3]))
    inside = data.annToMask(annotation)
    picture = http.get(finished["targets"][0]["links"]["mask"], params={"level": 0.3})
    assert (inside * 255 == np.asarray(Image.open(io.BytesIO(picture.content)))).all()
    assert annotation["area"] == inside.sum() == pycoco.area(annotation["segmentation"])
    values = array_of(http.get(finished["targets"][0]["links"]["npy"])).clip(0)
    assert 0.3 <= values[inside == 1].sum() / values.sum() < 0.31


def test_a_region_of_nothing_is_an_empty_annotation_and_a_black_picture() -> None:
    (annotation,) = json.loads(coco.encode(a_sheet(np.zeros((3, 4))), RenderOptions()))["annotations"]
    assert (annotation["area"], annotation["bbox"]) == (0, [0, 0, 0, 0])
    assert not np.asarray(Image.open(io.BytesIO(mask.encode(a_sheet(np.zeros((3, 4))), RenderOptions())))).any()


@pytest.mark.parametrize("bits", [8, 16])
def test_a_grey_picture_gives_back_the_values_by_the_range_that_comes_with_it(
    http: httpx2.Client, finished: dict[str, Any], bits: int
) -> None:
    links = finished["targets"][0]["links"]
    answer = http.get(links["png"], params={"bits": bits})
    picture = Image.open(io.BytesIO(answer.content))
    assert picture.mode == {8: "L", 16: "I;16"}[bits]
    assert answer.content[24:26] == bytes([bits, 0])  # depth and colour type of the PNG itself: grey
    low, high = float(answer.headers["saliency-low"]), float(answer.headers["saliency-high"])
    assert (picture.info["Saliency-Low"], picture.info["Saliency-High"]) == (repr(low), repr(high))
    values, step = array_of(http.get(links["npy"])), (high - low) / (2**bits - 1)
    assert np.abs(low + np.asarray(picture) * step - values).max() <= step / 2 + 1e-6
    assert (low, high) == (values.min(), values.max())


def test_a_flat_map_makes_a_black_grey_picture() -> None:
    assert not np.asarray(
        Image.open(io.BytesIO(png.encode(a_sheet(np.full((2, 2), 0.25)), RenderOptions(bits=16))))
    ).any()


def test_the_text_of_a_map_says_what_the_array_says(http: httpx2.Client, finished: dict[str, Any]) -> None:
    links = finished["targets"][0]["links"]
    content = http.get(links["json"], params={"max_side": 40}).json()
    values = array_of(http.get(links["npy"], params={"max_side": 40}))
    assert np.abs(np.array(content["values"]) - values).max() <= 1e-3 * np.abs(values).max()
    assert (content["height"], content["width"]) == values.shape
    assert content["target"]["name"] == "star"
    assert content["parameters"]["seed"] == 801
    assert 0 < content["standard_error"]["mean"] <= content["standard_error"]["max"] < content["high"]
    assert max(len(str(value)) for row in content["values"] for value in row) <= 12


def test_a_large_picture_s_text_is_of_bounded_size(http: httpx2.Client) -> None:
    large = io.BytesIO()
    Image.open(SAMPLES / "star.jpg").resize((2000, 900)).save(large, "JPEG")
    body = explain(http, large.getvalue(), masks=128, until=1).json()
    content = http.get(body["targets"][0]["links"]["json"]).json()
    assert (content["width"], content["height"]) == (512, 230)
    assert content["image"] == {"width": 2000, "height": 900}


@pytest.mark.parametrize("query", ["level=0", "level=1.1", "bits=12", "bits=x"])
def test_a_style_that_does_not_exist_is_refused(http: httpx2.Client, here: str, query: str) -> None:
    assert http.get(f"{here}/maps/0.png?{query}").json()["code"] == "invalid-parameters"


@pytest.fixture(scope="module")
def of_two_fills(http: httpx2.Client) -> dict[str, Any]:
    """A finished explanation of a star by two colours."""
    colors = '["#ff0000", "black"]'
    star = (SAMPLES / "star.jpg").read_bytes()
    body: dict[str, Any] = explain(http, star, method="mc-rise", colors=colors, masks=1024, until=1, seed=804).json()
    assert body["status"] == "succeeded"
    return body


def test_of_several_fills_one_can_be_chosen_and_must_be_where_a_format_shows_one(
    http: httpx2.Client, of_two_fills: dict[str, Any]
) -> None:
    link = of_two_fills["links"]["self"] + "/maps/0"
    both = array_of(http.get(f"{link}.npy"))
    assert (array_of(http.get(f"{link}.npy", params={"fill": "black"})) == both[1]).all()
    for ending, query in (("mask.png", {}), ("coco.json", {}), ("png", {"bits": 16})):
        refused = http.get(f"{link}.{ending}", params=query).json()
        assert refused["errors"][0]["field"] == "/fill", ending
        assert http.get(f"{link}.{ending}", params={**query, "fill": "#ff0000"}).status_code == 200, ending
    assert http.get(f"{link}.npy", params={"fill": "plaid"}).status_code == 422


def test_all_addresses_of_a_map_of_several_fills_answer(http: httpx2.Client, of_two_fills: dict[str, Any]) -> None:
    links = of_two_fills["targets"][0]["links"]
    assert set(links) == {"json", "npy", "npz", "overlay", "png"}
    assert {name: http.get(link).status_code for name, link in links.items()} == dict.fromkeys(links, 200)


@pytest.mark.parametrize("fill", ["#ff0000", "black"])
def test_what_is_said_of_one_fill_is_true_of_its_own_map(
    http: httpx2.Client, of_two_fills: dict[str, Any], fill: str
) -> None:
    links = of_two_fills["targets"][0]["links"]
    answer = http.get(links["npz"], params={"fill": fill})
    arrays = np.load(io.BytesIO(answer.content))
    row, column = np.unravel_index(arrays["map"].argmax(), arrays["map"].shape)
    assert answer.headers["saliency-peak"] == f"{column + 0.5},{row + 0.5}"
    reliability = np.sqrt(1 - np.mean(arrays["standard_error"] ** 2) / arrays["map"].var())
    assert float(answer.headers["saliency-reliability"]) == pytest.approx(reliability, abs=0.01)
    assert float(arrays["reliability"]) == pytest.approx(reliability, abs=0.01)
    target = json.loads(str(arrays["target"]))
    assert target["peak"] == [column + 0.5, row + 0.5]
    assert f"{target['reliability']:.4f}" == answer.headers["saliency-reliability"]


def test_the_only_fill_has_the_peak_of_its_target(http: httpx2.Client, finished: dict[str, Any]) -> None:
    link = finished["targets"][0]["links"]["npy"]
    every, one = http.get(link), http.get(link, params={"fill": "black"})
    assert one.content == every.content
    for name in ("saliency-peak", "saliency-reliability"):
        assert one.headers[name] == every.headers[name]


SEVERAL = (SAMPLES / "several.jpg").read_bytes()
THERE, NOWHERE = ({"box": box, "label": "star"} for box in ([47, 40, 153, 145], [400, 300, 470, 350]))
BOXES: dict[str, Any] = {"model": "shapes-detector", "masks": 512, "until": 1}


def test_a_box_in_which_nothing_was_ever_found_has_a_reason_and_no_map(http: httpx2.Client) -> None:
    body = explain(http, SEVERAL, targets=json.dumps([THERE, NOWHERE]), **BOXES).json()
    here, (found, missed) = body["links"]["self"], body["targets"]
    assert (body["status"], found["error"], missed["error"]["code"]) == ("succeeded", None, "no-target")
    for ending in formats():
        refused = http.get(f"{here}/maps/1.{ending}", headers={"If-None-Match": "*"})
        assert (refused.status_code, refused.json()["code"]) == (422, "no-target"), ending
        assert missed["error"]["detail"] in refused.json()["detail"]
        assert "etag" not in refused.headers
        assert http.get(f"{here}/maps/0.{ending}").status_code == 200, ending
    assert http.get(f"{here}/maps/1", headers={"Accept": "image/png"}).json()["code"] == "no-target"
    refused = http.post(f"{here}/metrics", json={"target": 1, "metrics": ["energy-in-box"]}).json()
    assert refused["code"] == "no-target"
    assert missed["error"]["detail"] in refused["detail"]


def test_an_explanation_of_nothing_but_such_a_box_has_no_map_either(http: httpx2.Client) -> None:
    body = explain(http, SEVERAL, targets=json.dumps([NOWHERE]), **BOXES).json()
    assert (body["status"], body["error"]["code"]) == ("failed", "no-target")
    refused = http.get(f"{body['links']['self']}/maps/0.npy")
    assert (refused.status_code, refused.json()["code"]) == (422, "no-target")
    assert body["error"]["detail"] in refused.json()["detail"]


def test_a_map_in_which_nothing_was_found_yet_may_still_come() -> None:
    failure = Failure(code="no-target", detail="nothing matched")
    record, target = a_record(), STAR.model_copy(update={"error": failure})
    for status, code, seconds in ((Status.RUNNING, "not-ready", 1), (Status.SUCCEEDED, "no-target", None)):
        with pytest.raises(RiseError, match="nothing matched") as refused:
            require_meaningful_map(record.model_copy(update={"status": status}), target)
        assert (refused.value.code, refused.value.retry_after_seconds) == (code, seconds)
    require_meaningful_map(record, STAR)


@pytest.mark.parametrize("style", ["cmap=nope", "fill=plaid"])
def test_whoever_claims_to_have_any_copy_has_none_of_what_there_cannot_be(
    http: httpx2.Client, here: str, style: str
) -> None:
    refused = http.get(f"{here}/maps/0.png?{style}", headers={"If-None-Match": "*"})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid-parameters")


def test_copies_may_be_named_in_several_lines(http: httpx2.Client, finished: dict[str, Any]) -> None:
    links = finished["links"]
    for link in (finished["targets"][0]["links"]["npy"], links["image"], links["self"]):
        tag = http.get(link).headers["etag"]
        lines = [("If-None-Match", '"other"'), ("If-None-Match", tag)]
        assert http.get(link, headers=lines).status_code == 304, link
        assert http.get(link, headers=[*lines[:1], *lines[:1]]).status_code == 200, link


def test_a_copy_of_anything_is_right_as_long_as_its_tag_is(http: httpx2.Client, finished: dict[str, Any]) -> None:
    links = [finished["links"]["self"], finished["links"]["image"], *finished["targets"][0]["links"].values()]
    tags = [http.get(link).headers["etag"] for link in links]
    assert len(set(tags)) == len(links)
    for link, tag in zip(links, tags, strict=True):
        strong = tag.removeprefix("W/")
        for copy in (tag, f'"other", W/{strong}', "*"):
            answer = http.get(link, headers={"If-None-Match": copy})
            assert (answer.status_code, answer.content) == (304, b""), link
            assert answer.headers["etag"].removeprefix("W/") == strong
        assert http.get(link, headers={"If-None-Match": '"other"'}).status_code == 200


def test_another_style_is_another_copy(http: httpx2.Client, finished: dict[str, Any]) -> None:
    link = finished["targets"][0]["links"]["png"]
    styles: list[dict[str, Any]] = [{}, {"max_side": 64}, {"cmap": "viridis"}, {"signed": True}, {"bits": 16}]
    assert len({http.get(link, params=style).headers["etag"] for style in styles}) == len(styles)


def test_a_finished_map_may_be_kept_until_it_expires_and_a_running_one_is_asked_for_again(
    http: httpx2.Client, finished: dict[str, Any], star: bytes
) -> None:
    kept = http.get(finished["targets"][0]["links"]["npy"]).headers["cache-control"]
    assert kept.startswith("private, max-age=")
    assert 80_000 < int(kept.split("=")[1].split(",")[0]) <= 86_400
    assert http.get(finished["links"]["self"]).headers["cache-control"] == "private, no-cache"
    running = endless(http, star, 802)
    while (answer := http.get(f"{running}/maps/0.npy")).status_code == 409:
        assert answer.headers["retry-after"] == "1"
        http.get(running, params={"wait": 0.1})
    assert answer.headers["cache-control"] == "private, no-cache"
    for _ in range(100):
        newer = http.get(f"{running}/maps/0.npy", headers={"If-None-Match": answer.headers["etag"]})
        if newer.status_code == 200:
            break
        http.get(running, params={"wait": 0.1})
    assert newer.status_code == 200
    assert newer.headers["etag"] != answer.headers["etag"]
    http.delete(running)


def test_a_right_copy_is_confirmed_without_drawing_and_a_lost_object_is_gone_for_good(
    service: Service, http: httpx2.Client, star: bytes
) -> None:
    body = explain(http, star, masks=128, until=1, seed=803).json()
    link = body["targets"][0]["links"]["npy"]
    tag = http.get(link).headers["etag"]
    for blob in (service.data / "blobs" / "explanations" / body["id"] / "effects").iterdir():
        blob.unlink()
    assert http.get(link, headers={"If-None-Match": tag}).status_code == 304
    (service.data / "blobs" / "explanations" / body["id"] / "image").unlink()
    for address in (link, body["targets"][0]["links"]["overlay"], body["links"]["image"]):
        lost = http.get(address)
        assert (lost.status_code, lost.json()["code"]) == (410, "expired")
        assert "retry-after" not in lost.headers


def test_a_class_that_nobody_asked_for_has_the_map_that_it_would_have_had(
    http: httpx2.Client, here: str, star: bytes
) -> None:
    asked = explain(http, star, seed=801, masks=1024, until=1, targets='[{"label": "ring"}]').json()["targets"][0]
    expected = array_of(http.get(asked["links"]["npy"]))
    by_name, by_index = http.get(f"{here}/maps/label/ring.npy"), http.get(f"{here}/maps/label/%35.npy")
    assert np.allclose(array_of(by_name), expected, atol=1e-6)
    assert by_index.content == by_name.content
    assert float(by_name.headers["saliency-reliability"]) == pytest.approx(asked["reliability"], abs=0.02)
    x, y = map(float, by_name.headers["saliency-peak"].split(","))
    row, column = np.unravel_index(expected.argmax(), expected.shape)
    assert (x, y) == (column + 0.5, row + 0.5)
    content = http.get(f"{here}/maps/label/ring.json?max_side=100").json()
    assert content["target"]["name"] == "ring"
    assert content["target"]["index"] == -1
    assert content["target"]["reliability"] == pytest.approx(asked["reliability"], abs=0.02)


def test_the_class_that_was_asked_for_is_the_target(http: httpx2.Client, here: str, finished: dict[str, Any]) -> None:
    for ending in formats():
        answer = http.get(f"{here}/maps/label/star.{ending}")
        assert answer.content == http.get(f"{here}/maps/0.{ending}").content, ending
    assert float(answer.headers["saliency-reliability"]) == round(finished["targets"][0]["reliability"], 4)
    assert http.get(f"{here}/maps/label/star", headers={"Accept": "image/png"}).content.startswith(b"\x89PNG")


@pytest.mark.parametrize("label", ["dog.npy", "6.npy", "-1.npy", "dog", "ring.exe", "a/b.npy", "99999999999999.npy"])
def test_a_class_that_does_not_exist_is_not_found_and_the_choices_are_told(
    http: httpx2.Client, here: str, label: str
) -> None:
    answer = http.get(f"{here}/maps/label/{label}")
    assert answer.status_code == 404
    assert answer.json()["code"] == "not-found"
    assert "circle, square, triangle, star, cross, ring" in answer.json()["detail"]


def test_where_effects_of_other_classes_were_not_kept_the_reason_is_told(http: httpx2.Client, star: bytes) -> None:
    paper = explain(http, star, estimator="paper", masks=128, until=1).json()["links"]["self"]
    refused = http.get(f"{paper}/maps/label/ring.npy")
    assert (refused.status_code, refused.json()["code"]) == (404, "not-kept")
    assert "published" in refused.json()["detail"]
    assert http.get(f"{paper}/maps/label/star.npy").status_code == 200
    several = (SAMPLES / "several.jpg").read_bytes()
    boxes = explain(http, several, model="shapes-detector", masks=1024, until=1).json()["links"]["self"]
    refused = http.get(f"{boxes}/maps/label/star.npy")
    assert (refused.status_code, refused.json()["code"]) == (404, "not-kept")
    assert "boxes" in refused.json()["detail"]


def test_names_may_hold_anything_that_an_address_can() -> None:
    assert split_name("great white shark.overlay.png") == ("great white shark", "overlay.png")
    assert split_name("a/b.v2.coco.json") == ("a/b.v2", "coco.json")
    assert split_name("mr. x") == ("mr. x", None)
    state = STATE.model_copy(
        update={"rows": [0, 1, 2], "target_rows": [1], "checkpoints": [Checkpoint(blob="b", first=0, count=1)]}
    )
    asked = TargetResult(index=0, label=1, name="a/b", score=1.0)
    record = a_record().model_copy(update={"state": state, "targets": [asked]})
    names = ["0", "a/b", "a/b"]
    assert resolve_class(record, "a/b", names).target == asked
    assert resolve_class(record, "0", names).row == 0
    assert resolve_class(record, "2", names).target.name == "a/b"
    assert resolve_class(record, "2", []).target.name is None  # nobody is there to tell the names
    assert resolve_class(record, "a/b", []).target == asked
    few = record.model_copy(update={"state": state.model_copy(update={"rows": [1], "target_rows": [0]})})
    with pytest.raises(RiseError, match="so many classes") as refused:
        resolve_class(few, "2", names)
    assert refused.value.code == "not-kept"
