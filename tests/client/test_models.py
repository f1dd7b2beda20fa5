"""The client's models hold what the service's document says, and take what a newer service says."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from rise_client import Client, requests
from rise_client.models import BatchData, BatchItem, ExplanationData, MethodCard, ModelCard, Prediction
from tests.conftest import SAMPLES, Service
from tests.support.http_proxy import Forward, relay
from tests.support.http_receivers import Answer, Asked

DOCUMENT = json.loads((Path(__file__).resolve().parents[2] / "app" / "openapi.json").read_text())
STAR = SAMPLES / "star.jpg"
ANSWERS: dict[tuple[str, str], Any] = {
    ("post", "/v1/explanations"): ExplanationData,
    ("get", "/v1/explanations/{explanation_id}"): ExplanationData,
    ("post", "/v1/explanations/{explanation_id}/cancel"): ExplanationData,
    ("post", "/v1/batches"): BatchData,
    ("get", "/v1/batches/{batch_id}"): BatchData,
    ("post", "/v1/batches/{batch_id}/cancel"): BatchData,
    ("get", "/v1/batches/{batch_id}/explanations"): list[BatchItem],
    ("get", "/v1/models"): list[ModelCard],
    ("get", "/v1/methods"): list[MethodCard],
    ("post", "/v1/models/{model_id}/predict"): list[Prediction],
}


def structure(schema: Any, root: Any) -> Any:
    """Return what a JSON schema says of the structure of values: names, which are always there, and kinds."""
    if "$ref" in schema:
        for part in schema["$ref"].removeprefix("#/").split("/"):
            schema = schema[part] if part in schema else root[part]
        return structure(schema, root)
    if "anyOf" in schema:
        return sorted((structure(one, root) for one in schema["anyOf"]), key=repr)
    if "properties" in schema:
        always = schema.get("required", [])
        return {name: (name in always, structure(one, root)) for name, one in schema["properties"].items()}
    if schema.get("type") == "array":
        items = schema["prefixItems"] if "prefixItems" in schema else [schema["items"]]
        return [schema.get("minItems"), schema.get("maxItems"), *(structure(one, root) for one in items)]
    if isinstance(names := schema.get("additionalProperties"), dict):
        return ["any name", structure(names, root)]
    return schema.get("type", "anything")


@pytest.mark.parametrize(("method", "path"), ANSWERS, ids=lambda value: value)
def test_the_models_have_the_structure_of_the_document(method: str, path: str) -> None:
    own = TypeAdapter(ANSWERS[method, path]).json_schema()
    answers = DOCUMENT["paths"][path][method]["responses"]
    said = [
        answer["content"]["application/json"]["schema"] for code, answer in answers.items() if code in {"200", "202"}
    ]
    assert said
    assert [structure(one, DOCUMENT) for one in said] == [structure(own, own)] * len(said)


ASKED = [
    requests.create_request(b"", "cat", model="m"),
    requests.batch_request(STAR.open("rb"), model="m"),
    requests.predict_request(b"", "m", 3),
    requests.get_request("1", wait_seconds=3),
    requests.map_request("1", 0),
    requests.map_request("1", "cat"),
    requests.overlay_request("1", 0, max_side=3),
    requests.region_request("1", 0, 0.5),
    requests.events_request("1", None),
]


@pytest.mark.parametrize("request_", ASKED, ids=lambda asked: f"{asked.method} {asked.path}")
def test_every_request_is_one_of_the_document_with_parameters_that_it_knows(request_: requests.ApiRequest) -> None:
    (found,) = [
        methods[request_.method.lower()]
        for path, methods in DOCUMENT["paths"].items()
        if re.fullmatch(re.sub(r"{\w+}", "[^/]+", path), request_.path) and request_.method.lower() in methods
    ]
    known = {parameter["name"] for parameter in found.get("parameters", []) if parameter["in"] == "query"}
    assert set(request_.options.get("params", {})) <= known


def newer(came: Asked, forward: Forward) -> Answer:
    """Answer as a newer version of the service might: with more fields, and other states while it is not done."""

    def extended(value: Any) -> Any:
        if isinstance(value, list):
            return [extended(one) for one in value]
        if not isinstance(value, dict):
            return value
        free = {"parameters", "links", "counts"}
        return {name: one if name in free else extended(one) for name, one in value.items()} | {"added": [1]}

    answer = forward(came)
    if answer.headers.get("Content-Type") != "application/json":
        return answer
    content = extended(json.loads(answer.parts[0]))
    if isinstance(content, dict) and content.get("status") in {"queued", "running"}:
        content["status"] = "paused"
    return Answer(answer.status, (json.dumps(content).encode(),), answer.headers)


def test_a_newer_service_with_more_fields_and_other_states_is_understood(service: Service) -> None:
    with relay(service.url, newer) as between, Client(between.url) as client:
        assert "shapes" in [card.id for card in client.models()]
        assert client.predict(STAR, model="shapes", limit=1)[0].name == "star"
        explanation = client.explain(STAR, model="shapes", masks=5000, until=1, seed=201)
        assert explanation.data.status == "paused"
        assert [report.total for report in explanation.progress()]
        assert explanation.wait().data.targets[0].name == "star"
        batch = client.batch([STAR], model="shapes", masks=256).wait()
        assert [item.status for item in batch.items()] == ["succeeded"]
