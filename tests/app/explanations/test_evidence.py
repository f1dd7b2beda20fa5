"""Evidence in what clients read: the answer, the archive of a map, and after another question about the same blocks."""

import io
import json
from typing import Any

import httpx2
import numpy as np

from tests.conftest import SAMPLES


def explained(http: httpx2.Client, **fields: str) -> dict[str, Any]:
    answer = http.post(
        "/v1/explanations",
        files={"image": (SAMPLES / "clever-hans.jpg").read_bytes()},
        data={"model": "clever-hans", "seed": "17", **fields},
        headers={"Prefer": "wait=60"},
    )
    assert answer.status_code == 200, answer.text
    explanation: dict[str, Any] = answer.json()
    assert explanation["status"] == "succeeded", explanation
    return explanation


def test_the_answer_and_the_archive_say_how_far_a_map_can_be_trusted(http: httpx2.Client) -> None:
    explanation = explained(http)
    evidence = explanation["targets"][0]["evidence"]
    assert 0.7 < evidence["fidelity"] <= 1
    assert 0 < evidence["interaction_share"] < 0.3
    assert evidence["least_relevant_first"]["cells"] == 32
    assert evidence["least_relevant_first"]["drop"] < 0.1 < evidence["least_relevant_first"]["random"]
    assert evidence["fill_score"].keys() == {"target", "class", "probability"}
    assert len(evidence["sentences"]) == 5
    assert explanation["consistency"] < 1e-3
    assert explanation["provenance"]["evidence_passes"] == 16
    archive = np.load(io.BytesIO(http.get(f"/v1/explanations/{explanation['id']}/maps/0.npz").content))
    assert json.loads(str(archive["evidence"])) == evidence
    assert float(archive["consistency"]) == explanation["consistency"]
    content = http.get(f"/v1/explanations/{explanation['id']}/maps/0.json", params={"max_side": 16}).json()
    assert (content["target"]["evidence"], content["consistency"]) == (evidence, explanation["consistency"])


def test_the_same_blocks_have_the_same_evidence_without_asking_the_model_again(http: httpx2.Client) -> None:
    first, again = explained(http, seed="18"), explained(http, seed="18", shrink="true", until="0.5")
    assert again["id"] != first["id"]
    assert again["targets"][0]["evidence"] == first["targets"][0]["evidence"]
    assert again["provenance"]["evidence_passes"] == 0


def test_evidence_can_be_left_out(http: httpx2.Client) -> None:
    explanation = explained(http, evidence="false", seed="19")
    assert explanation["targets"][0]["evidence"] is None
    assert explanation["consistency"] is None
    assert explanation["provenance"]["evidence_passes"] == 0


def test_fills_in_turn_and_opacity_are_fields_of_a_form(http: httpx2.Client) -> None:
    explanation = explained(http, fill='["black", "grey", "blur"]', opacity="0.5", score="log-odds", seed="20")
    assert explanation["parameters"]["fill"] == ["black", "grey", "blur"]
    assert explanation["provenance"]["blocks"] % 3 == 0
    refused = http.post(
        "/v1/explanations",
        files={"image": (SAMPLES / "clever-hans.jpg").read_bytes()},
        data={"model": "clever-hans", "fill": '["black", "black"]'},
    )
    assert refused.status_code == 422
