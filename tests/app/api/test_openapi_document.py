"""The OpenAPI document follows the methods there are, and `app/openapi.json` is what the code says."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from jsonschema import Draft202012Validator

from app.api.openapi_document import build_openapi
from app.contract.schemas import MethodCard
from app.contract.settings import Settings
from app.main import create_app

COMMITTED = Path(__file__).resolve().parents[3] / "app" / "openapi.json"
IMAGE = {"id": "0f343b0931126a20f133d67c2b018a3b"}


@pytest.fixture(scope="module")
def committed() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(COMMITTED.read_text())
    return content


def validator(document: dict[str, Any], name: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": document["components"]})


def bodies(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for operation in (operation for path in document["paths"].values() for operation in path.values()):
        yield from operation.get("requestBody", {}).get("content", {}).items()


def test_the_committed_document_is_that_of_a_running_service(http: httpx2.Client, committed: dict[str, Any]) -> None:
    assert http.get("/openapi.json").json() == committed, "run `make openapi`"


def test_the_command_prints_the_committed_document_without_a_service() -> None:
    command = [str(Path(sys.executable).with_name("rise-serve")), "openapi"]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert printed == COMMITTED.read_text(), "run `make openapi`"


def test_every_reference_leads_to_a_component(committed: dict[str, Any]) -> None:
    def references(part: Any) -> Iterator[str]:
        if isinstance(part, dict):
            yield from ([part["$ref"]] if "$ref" in part else [])
        for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
            yield from references(inner)

    known = {f"#/components/schemas/{name}" for name in committed["components"]["schemas"]}
    assert set(references(committed)) <= known


def test_every_example_of_a_request_body_is_allowed_by_its_schema(committed: dict[str, Any]) -> None:
    described = list(bodies(committed))
    assert {media_type for media_type, _ in described} == {"multipart/form-data", "application/json"}
    for _, content in described:
        name = content["schema"]["$ref"].rpartition("/")[2]
        for example in content.get("examples", {}).values():
            validator(committed, name).validate(example["value"])


def test_every_answer_that_is_a_problem_has_examples_that_its_schema_allows(committed: dict[str, Any]) -> None:
    health = {"/livez", "/readyz"}
    paths = [methods for path, methods in committed["paths"].items() if path not in health]
    operations = [operation for methods in paths for operation in methods.values()]
    for operation in operations:
        for status in ("4XX", "5XX"):
            content = operation["responses"][status]["content"]["application/problem+json"]
            for example in content["examples"].values():
                validator(committed, "Problem").validate(example["value"])
                assert str(example["value"]["status"])[0] == status[0]


@pytest.mark.parametrize(
    ("fields", "allowed"),
    [
        ({}, True),
        ({"masks": 1, "grid": [3, 4], "targets": [{"label": 3}]}, True),
        ({"method": None, "targets": "top:3", "callback": None}, True),
        ({"method": "mc-rise", "colors": ["#ff0000"]}, True),
        ({"explain": "class"}, True),  # of D-RISE, the default for detectors
        ({"colors": ["#ff0000"]}, False),
        ({"method": "rise", "colors": ["#ff0000"]}, False),
        ({"method": "rise", "explain": "class"}, False),
        ({"method": "lime"}, False),
        ({"masks": 0}, False),
        ({"mask": 10}, False),
        ({"model": None}, False),
        ({"image": {"id": "a", "url": "https://example.com"}}, False),
    ],
)
def test_a_request_has_the_parameters_of_its_method(
    committed: dict[str, Any], fields: dict[str, Any], allowed: bool
) -> None:
    request = {"image": IMAGE, "model": "shapes", **fields}
    assert validator(committed, "ExplanationRequest").is_valid(request) is allowed


def test_links_lead_from_what_is_created_to_all_that_can_be_done_with_it(committed: dict[str, Any]) -> None:
    paths = committed["paths"]
    audit, report = "/v1/explanations/{explanation_id}/audit", "/v1/batches/{batch_id}/report"
    for creation, method, below, elsewhere in (
        ("/v1/explanations", "post", "/v1/explanations/{explanation_id}", audit),
        (audit, "post", audit, "/none"),
        ("/v1/batches", "post", "/v1/batches/{batch_id}", report),
        (report, "get", report, "/none"),
        ("/v1/images", "post", "/v1/images/{image_id}", "/none"),
    ):
        operations = [
            operation
            for path in paths
            if path.startswith(below)
            for name, operation in paths[path].items()
            if not path.startswith(elsewhere) or (name == "post" and path == audit)
        ]
        for status, response in paths[creation][method]["responses"].items():
            linked = response.get("links", {})
            assert linked.keys() == ({each["operationId"] for each in operations} if status[0] == "2" else set())
            for operation in operations if linked else []:
                parts = {part["name"] for part in operation["parameters"] if part["in"] == "path"}
                assert linked[operation["operationId"]]["parameters"].keys() == parts


def test_a_new_method_is_described_by_its_card() -> None:
    parameters = {"type": "object", "properties": {"depth": {"$ref": "#/$defs/Depth"}}}
    card = MethodCard(
        id="my-own",
        summary="Mine.",
        tasks=["classification"],
        default_for=[],
        parameters={**parameters, "$defs": {"Depth": {"type": "integer"}}},
    )
    described = validator(build_openapi(create_app(Settings()), [card]), "ExplanationRequest")
    request = {"image": IMAGE, "model": "shapes", "method": "my-own"}
    assert described.is_valid({**request, "depth": 3})
    assert not described.is_valid({**request, "depth": "deep"})
    assert not described.is_valid({**request, "method": "rise"})


def test_without_a_worker_requests_may_have_any_parameters() -> None:
    described = validator(build_openapi(create_app(Settings()), []), "ExplanationRequest")
    assert described.is_valid({"image": IMAGE, "model": "shapes", "depth": 3})
    assert not described.is_valid({"image": IMAGE, "model": "shapes", "targets": 3})
