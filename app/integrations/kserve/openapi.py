"""The OpenAPI description of `:explain` that FastAPI cannot derive: its body, and its errors."""

from typing import Any

from pydantic import Field

from app.api.openapi_components import schema_ref
from app.contract.schemas import ExplanationParams, JsonObject, StoredModel
from app.integrations.kserve.request import MAX_INSTANCES
from app.integrations.kserve.response import ResponseOptions


class Refusal(StoredModel):
    """What went wrong."""

    error: str


class Unfinished(Refusal):
    """The time is up; the explanations go on, and the same request finds them finished."""

    job_id: str = Field(description="The first explanation that is not finished.")
    job_ids: list[str] = Field(description="All of them.")


ERRORS: dict[int | str, JsonObject] = {
    "4XX": {"model": Refusal, "description": "The request is wrong."},
    "5XX": {"model": Refusal, "description": "It failed here, or at the predictor (502)."},
}

_ROW = {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}
_NUMBERS = {
    "type": "array",
    "items": {"anyOf": [_ROW, {"type": "array", "items": {"type": "number"}}]},
    "description": "Rows of pixels of 1 or 3 channels; or rows of grey levels. Whole numbers from 0 to 255 or, where "
    "any is written with a point, numbers from 0 to 1.",
}


def _object(**properties: Any) -> JsonObject:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _parameters() -> JsonObject:
    params = ExplanationParams.model_json_schema(ref_template=schema_ref("{model}")["$ref"])["properties"]
    without_model = {name: schema for name, schema in params.items() if name != "model"}
    return {
        "type": "object",
        "properties": {**ResponseOptions.model_json_schema()["properties"], **without_model},
        "additionalProperties": True,
        "description": "And whatever the method takes: `masks`, `until`, `grid`, `fill`, `seed`, ...",
    }


_FILE = _object(b64={"type": "string", "contentEncoding": "base64", "description": "A JPEG, PNG, WebP, ... file."})
_INSTANCE = {"anyOf": [_object(image={"anyOf": [_FILE, _NUMBERS]}), _FILE, _NUMBERS]}
_INSTANCES = {"type": "array", "items": _INSTANCE, "minItems": 1, "maxItems": MAX_INSTANCES}
_REQUEST = {**_object(instances=_INSTANCES, parameters=_parameters()), "required": ["instances"]}
_EXAMPLE = {"instances": [[[0, 0, 255], [255, 255, 255]]], "parameters": {"targets": "top:3", "map": "png"}}
EXPLAIN_BODY: JsonObject = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": _REQUEST, "examples": {"numbers": {"value": _EXAMPLE}}}},
    }
}
