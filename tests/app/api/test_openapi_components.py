"""What the OpenAPI document says about reading, held against the running service."""

from typing import Any

import httpx2
import pytest

from app.rendering.formats import formats


@pytest.fixture(scope="module")
def document(http: httpx2.Client) -> dict[str, Any]:
    content: dict[str, Any] = http.get("/openapi.json").json()
    return content


def test_every_operation_has_an_id_of_its_own_and_says_what_it_does(document: dict[str, Any]) -> None:
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids)
    assert all(operation["description"] for operation in operations)
    assert len({operation["summary"] for operation in operations}) == len(operations)
    assert {"followExplanation", "listExplanations", "deleteExplanation", "getMap", "getMapOfClass"} <= set(ids)


@pytest.mark.parametrize("path", ["{name}", "label/{name}"])
def test_maps_are_described_with_every_media_type_header_and_parameter(document: dict[str, Any], path: str) -> None:
    operation = document["paths"][f"/v1/explanations/{{explanation_id}}/maps/{path}"]["get"]
    answer = operation["responses"]["200"]
    assert set(answer["content"]) == {module.MEDIA_TYPE.partition(";")[0] for module in formats().values()}
    assert {"ETag", "Cache-Control", "Saliency-Low", "Saliency-High", "Saliency-Peak"} <= set(answer["headers"])
    assert "304" in operation["responses"]
    assert "4XX" in operation["responses"]
    parameters = {parameter["name"] for parameter in operation["parameters"]}
    assert {"level", "bits", "max_side", "fill", "cmap", "signed", "alpha", "accept", "if-none-match"} <= parameters


def test_events_are_described_as_events(document: dict[str, Any]) -> None:
    operation = document["paths"]["/v1/explanations/{explanation_id}/events"]["get"]
    content = operation["responses"]["200"]["content"]
    assert set(content) == {"text/event-stream"}
    assert "event: succeeded" in content["text/event-stream"]["example"]
    assert "204" in operation["responses"]
    assert "last-event-id" in {parameter["name"] for parameter in operation["parameters"]}


def test_lists_and_removal_are_described(document: dict[str, Any]) -> None:
    listing = document["paths"]["/v1/explanations"]["get"]
    assert "Link" in listing["responses"]["200"]["headers"]
    assert {parameter["name"] for parameter in listing["parameters"]} == {"status", "model", "limit", "after"}
    removal = document["paths"]["/v1/explanations/{explanation_id}"]["delete"]
    assert "content" not in removal["responses"]["204"]
