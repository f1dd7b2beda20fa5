"""Audits over HTTP, through the worker: what they say, what they cost, and what becomes of them."""

import io
import os
import time
import zipfile
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image
from torch.nn import functional

from tests.app.explanations.test_events import endless
from tests.conftest import SAMPLES
from tests.support.black_boxes import study_of
from workers.audit.white_box import grad_cam
from workers.demo import clever_hans

SEED = str(os.getpid())


def explained(http: httpx2.Client, **fields: str) -> dict[str, Any]:
    answer = http.post(
        "/v1/explanations",
        files={"image": (SAMPLES / "clever-hans.jpg").read_bytes()},
        data={"model": "clever-hans", "seed": SEED, **fields},
        headers={"Prefer": "wait=60"},
    )
    assert answer.is_success, answer.text
    explanation: dict[str, Any] = answer.json()
    return explanation


def audited(http: httpx2.Client, explanation_id: str) -> dict[str, Any]:
    answer = http.post(f"/v1/explanations/{explanation_id}/audit", headers={"Prefer": "wait=60"})
    assert answer.is_success, answer.text
    audit: dict[str, Any] = answer.json()
    return audit


@pytest.fixture(scope="module")
def explanation(http: httpx2.Client) -> dict[str, Any]:
    """A finished explanation with a finished audit."""
    found = explained(http)
    assert found["audit"] is None
    audit = audited(http, found["id"])
    assert audit["status"] == "succeeded", audit
    return {**found, "audit": audit}


def test_the_audit_of_an_honest_model_finds_nothing_and_is_a_part_of_the_explanation(
    http: httpx2.Client, explanation: dict[str, Any]
) -> None:
    audit = explanation["audit"]
    assert audit["verdict"] == "nothing-found"
    checks = {check["check"]: check for check in audit["checks"]}
    names = {"fill-dependence", "low-opacity", "resolution", "white-box", "discontinuity", "consistency"}
    assert names <= checks.keys()
    assert 0 < checks["white-box"]["value"] <= 1
    assert all(check["sentence"] for check in checks.values())
    assert checks["fill-dependence"]["value"] < 0.2
    assert "smoothly" in audit["limits"]
    now = http.get(f"/v1/explanations/{explanation['id']}").json()
    assert now["audit"] == audit == http.get(now["links"]["audit"]).json()


def test_an_audit_says_beforehand_how_many_passes_it_takes_at_most(explanation: dict[str, Any]) -> None:
    most = explanation["audit_passes"]
    assert most <= 1200
    assert explanation["audit"]["passes"] <= most
    assert explanation["audit"]["progress"]["total"] == most


def test_asking_for_an_audit_again_gives_the_same_one_at_once(http: httpx2.Client, explanation: dict[str, Any]) -> None:
    again = http.post(f"/v1/explanations/{explanation['id']}/audit")
    assert (again.status_code, again.json()) == (200, explanation["audit"])


def test_a_copy_of_an_explanation_is_right_until_its_audit_says_more(http: httpx2.Client) -> None:
    here = f"/v1/explanations/{explained(http, seed='801')['id']}"
    before = http.get(here).headers["etag"]
    assert http.get(here, headers={"If-None-Match": before}).status_code == 304
    audited(http, here.rpartition("/")[2])
    after = http.get(here, headers={"If-None-Match": before})
    assert (after.status_code, after.json()["audit"]["status"]) == (200, "succeeded")
    assert http.get(here, headers={"If-None-Match": after.headers["etag"]}).status_code == 304


def test_an_explanation_that_is_asked_for_with_an_audit_is_the_same_explanation(http: httpx2.Client) -> None:
    together = explained(http, audit="true", seed="802")
    assert together["audit"]["status"] in {"queued", "running", "succeeded"}
    assert explained(http, seed="802")["id"] == together["id"]
    audit = http.get(f"{together['links']['audit']}?wait=60").json()
    assert (audit["status"], audit["verdict"]) == ("succeeded", "nothing-found")


@pytest.mark.slow
def test_an_audit_does_not_wait_for_its_explanation_and_says_the_same_whoever_computes_the_blocks(
    http: httpx2.Client,
) -> None:
    here = explained(http, seed="803")["id"]
    with_blocks = audited(http, here)
    http.delete(f"/v1/explanations/{here}").raise_for_status()
    again = explained(http, seed="803", evidence="false", audit="true", masks="128", until="1")
    audit = http.get(f"{again['links']['audit']}?wait=60").json()
    assert audit["checks"][:-1] == with_blocks["checks"][:-1]
    assert [check["verdict"] for check in audit["checks"]] == ["nothing-found"] * 7
    assert audit["passes"] == with_blocks["passes"] + 2 * 128, "one block is not enough to be reused"


def test_an_audit_is_in_no_list_and_is_no_explanation(http: httpx2.Client, explanation: dict[str, Any]) -> None:
    name = f"{explanation['id']}-audit"
    assert name not in {listed["id"] for listed in http.get("/v1/explanations?limit=100").json()}
    assert http.get(f"/v1/explanations/{name}").status_code == 404
    assert http.delete(f"/v1/explanations/{name}").status_code == 404


def test_audits_are_counted_apart_from_explanations(http: httpx2.Client, explanation: dict[str, Any]) -> None:
    assert explanation["audit"]
    counts = http.get("/metrics").text
    assert 'method="audit"' in counts


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"estimator": "paper"}, "published estimator"),
        ({"method": "mc-rise"}, "colours"),
        ({"fill": '["black", "blur"]'}, "one fill"),
    ],
    ids=["paper", "mc-rise", "fills in turn"],
)
def test_what_cannot_be_audited_is_refused_with_the_reason(
    http: httpx2.Client, fields: dict[str, str], words: str
) -> None:
    refused = http.post(
        "/v1/explanations",
        files={"image": (SAMPLES / "clever-hans.jpg").read_bytes()},
        data={"model": "clever-hans", "audit": "true", "masks": "256", **fields},
    )
    assert refused.status_code == 422
    assert words in refused.json()["detail"]
    later = http.post(f"/v1/explanations/{explained(http, masks='256', **fields)['id']}/audit")
    assert later.status_code == 422
    assert words in later.json()["detail"]


def test_what_has_no_map_cannot_be_audited(http: httpx2.Client, star: bytes) -> None:
    here = endless(http, star, 804)
    http.post(f"{here}/cancel").raise_for_status()
    refused = http.post(f"{here}/audit")
    assert (refused.status_code, refused.json()["code"]) == (409, "not-ready")
    assert http.get(f"{here}/audit").status_code == 404
    assert http.post("/v1/explanations/nobody/audit").status_code == 404


def test_cancelling_an_explanation_cancels_its_audit_and_deleting_deletes_both(
    http: httpx2.Client, star: bytes
) -> None:
    here = endless(http, star, 805)  # which occupies the worker
    assert http.post(f"{here}/audit").status_code == 202
    http.post(f"{here}/cancel").raise_for_status()
    now = http.get(here).json()
    assert (now["status"], now["audit"]["status"]) == ("cancelled", "cancelled")
    http.delete(here).raise_for_status()
    assert http.get(f"{here}/audit").status_code == 404


def test_the_events_of_an_audit_tell_its_end(http: httpx2.Client, explanation: dict[str, Any]) -> None:
    stream = http.get(explanation["audit"]["links"]["events"]).text
    assert "event: progress" in stream
    assert "event: succeeded" in stream
    assert explanation["id"] in stream
    assert "-audit" not in stream


def the_map(http: httpx2.Client, explanation_id: str, query: str = "") -> Any:
    answer = http.get(f"/v1/explanations/{explanation_id}/maps/0.npz{query}")
    assert answer.is_success, answer.text
    return np.load(io.BytesIO(answer.content))


def test_the_maps_of_other_fills_and_of_low_opacity_can_be_drawn(
    http: httpx2.Client, explanation: dict[str, Any]
) -> None:
    here = explanation["id"]
    own, grey = the_map(http, here)["map"], the_map(http, here, "?fill=grey")["map"]
    assert grey.shape == own.shape
    assert 0.8 < np.corrcoef(own.ravel(), grey.ravel())[0, 1] < 0.99999
    partly = the_map(http, here, "?opacity=0.3")
    assert '"opacity": 0.3' in str(partly["parameters"])
    for ending in ("png", "overlay.png", "json", "npy", "mask.png", "coco.json"):
        assert http.get(f"/v1/explanations/{here}/maps/0.{ending}?fill=blur").is_success
    by_own_fill = http.get(f"/v1/explanations/{here}/maps/0.npy?fill={explanation['parameters']['fill']}")
    assert by_own_fill.content == http.get(f"/v1/explanations/{here}/maps/0.npy").content


def test_grad_cam_is_drawn_as_the_network_says_it(http: httpx2.Client, explanation: dict[str, Any]) -> None:
    image = Image.open(SAMPLES / "clever-hans.jpg").convert("RGB")
    model = clever_hans.load()
    (target,) = explanation["targets"]
    plan = study_of(model, image, fill="black")
    by_hand = functional.interpolate(
        grad_cam(model, plan.problem.image, [target["label"]])[None], image.size[::-1], mode="bilinear"
    )[0, 0].numpy()
    drawn = the_map(http, explanation["id"], "?method=grad-cam")
    assert np.allclose(drawn["map"], by_hand, atol=1e-5 * by_hand.max())
    assert by_hand.max() > 0
    assert str(drawn["method"]) == "grad-cam"
    assert not {"standard_error", "reliability", "evidence"} & set(drawn)
    assert explanation["audit"]["methods"] == ["grad-cam"]
    here = f"/v1/explanations/{explanation['id']}/maps"
    for ending in ("png", "overlay.png", "json", "npy", "mask.png", "coco.json"):
        assert http.get(f"{here}/0.{ending}?method=grad-cam").is_success
    by_name = http.get(f"{here}/label/{target['name']}.npy?method=grad-cam")
    assert np.array_equal(np.load(io.BytesIO(by_name.content)), drawn["map"])
    refused = http.get(f"{here}/label/ring.npy?method=grad-cam")
    assert (refused.status_code, refused.json()["code"]) == (404, "not-kept")


def test_where_there_is_no_grad_cam_the_reason_is_said(http: httpx2.Client, explanation: dict[str, Any]) -> None:
    here = f"/v1/explanations/{explanation['id']}/maps/0.png"
    for query in ("method=lime", "method=grad-cam&fill=grey", "method=grad-cam&opacity=0.3"):
        assert http.get(f"{here}?{query}").status_code == 422
    never = http.get(f"/v1/explanations/{explained(http, seed='809')['id']}/maps/0.png?method=grad-cam")
    assert never.status_code == 404
    assert "nobody has asked for one" in never.json()["detail"]
    fields = {"model": "shapes-detector", "masks": "128", "until": "1", "grid": "4", "targets": "top:1"}
    detected = explained(http, **fields)
    assert audited(http, detected["id"])["methods"] == []
    refused = http.get(f"/v1/explanations/{detected['id']}/maps/0.png?method=grad-cam")
    assert (refused.status_code, refused.json()["code"]) == (404, "not-found")
    assert "this model is no classifier" in refused.json()["detail"]


def test_a_map_that_no_audit_has_made_is_not_found(http: httpx2.Client, explanation: dict[str, Any]) -> None:
    here = f"/v1/explanations/{explanation['id']}/maps/0.png"
    assert http.get(f"{here}?fill=white").status_code == 404
    assert http.get(f"{here}?opacity=0.5").status_code == 404
    assert http.get(f"{here}?fill=blur&opacity=0.3").status_code == 422
    never = f"/v1/explanations/{explained(http, seed='806')['id']}/maps/0.png"
    refused = http.get(f"{never}?fill=grey")
    assert refused.status_code == 404
    assert "audit" in refused.json()["detail"]


@pytest.mark.slow
def test_a_batch_audits_each_of_its_images(http: httpx2.Client) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.write(SAMPLES / "clever-hans.jpg", "a.jpg")
    fields = {"model": "clever-hans", "seed": "807", "audit": "true"}
    batch = http.post("/v1/batches", files={"archive": archive.getvalue()}, data=fields).json()
    here = f"/v1/batches/{batch['id']}/explanations"
    for _ in range(300):
        (item,) = http.get(here).json()
        if item["explanation"] and item["explanation"]["audit"]:
            break
        time.sleep(0.1)
    audit = http.get(f"{item['explanation']['links']['audit']}?wait=60").json()
    assert audit["status"] == "succeeded"
    (item,) = http.get(here).json()
    assert item["explanation"]["audit"] == audit


def test_a_callback_of_an_audit_has_to_be_allowed_as_that_of_an_explanation(http: httpx2.Client) -> None:
    answer = http.post(f"/v1/explanations/{explained(http, seed='808')['id']}/audit", json={"callback": "http://here"})
    assert (answer.status_code, answer.json()["code"]) == (403, "url-not-allowed")
