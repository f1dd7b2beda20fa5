"""What FastAPI cannot see by itself: request bodies that are a form or JSON, and problem responses.

Schemas are named here and defined in `app/api/openapi_document.py`, because those of requests depend on the methods
there are.
"""

from typing import Any

from app.api.problems import MEDIA_TYPE, to_problem
from app.contract.errors import RiseError, StorageError, invalid_field, unknown_choice

_JsonObject = dict[str, Any]


def schema_ref(name: str) -> dict[str, str]:
    """Return a schema that stands among the document's components."""
    return {"$ref": f"#/components/schemas/{name}"}


def header(description: str, example: str) -> _JsonObject:
    """Return the description of a header of an answer."""
    return {"description": description, "schema": {"type": "string"}, "example": example}


_AGAIN = header("Seconds after which it is worth asking again, where it is.", "5")
ACCEPTED = {
    "Location": header("Where it is from now on.", "/v1/explanations/5f1c"),
    "Retry-After": header("Seconds after which it may have ended.", "2"),
}
PREFERRED = {"Preference-Applied": header("What was done of `Prefer`.", "wait=30")}
FRESHNESS = {
    "ETag": header("Names exactly these bytes; send it back as `If-None-Match`.", '"0f343b0931126a20f133d67c2b018a3b"'),
    "Cache-Control": header("How long the answer stays right.", "private, max-age=86000, immutable"),
}
NOT_MODIFIED: dict[int | str, _JsonObject] = {
    304: {"description": "The client's copy is still right.", "headers": FRESHNESS}
}


def _problems(description: str, *errors: RiseError) -> _JsonObject:
    examples = {
        error.code: {"value": to_problem(error, "/v1/explanations").model_dump(exclude_defaults=True)}
        for error in errors
    }
    content = {MEDIA_TYPE: {"schema": schema_ref("Problem"), "examples": examples}}
    return {"description": description, "content": content, "headers": {"Retry-After": _AGAIN}}


PROBLEMS: dict[int | str, _JsonObject] = {
    "4XX": _problems(
        "The request is wrong.",
        unknown_choice("/model", "shapez", ["shapes", "shapes-detector"]),
        invalid_field("/masks", "2000000 is greater than the maximum of 1000000"),
        RiseError("malformed-request", "the body is not JSON"),
        RiseError("not-found", "there is no explanation '5f1c'"),
        RiseError("unauthorized", "send a key: Authorization: Bearer KEY"),
        RiseError("too-many-requests", "this key has made its 60 requests of this minute"),
    ),
    "5XX": _problems(
        "It failed here.",
        RiseError("busy", "the queue is full; try again later"),
        RiseError("no-worker", "no worker is running; see GET /readyz"),
        StorageError("the storage is full"),
        RiseError("unavailable", "Redis is out of memory; see GET /readyz"),
        RiseError("internal", "something went wrong here; it has been logged"),
    ),
}

_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
_BY_CONTENT = {"base64": _PIXEL}
_BY_ADDRESS = {"url": "https://images.example.com/star.jpg"}
_BY_ID = {"id": "0f343b0931126a20f133d67c2b018a3b"}


def _body(form: str, form_examples: _JsonObject, json: str, json_examples: _JsonObject) -> _JsonObject:
    """Return the body of an operation: the names of its two schemas, and examples of each by name."""
    bodies = {"multipart/form-data": (form, form_examples), "application/json": (json, json_examples)}
    content = {
        media_type: {
            "schema": schema_ref(schema),
            "examples": {name: {"value": value} for name, value in examples.items()},
        }
        for media_type, (schema, examples) in bodies.items()
    }
    return {"requestBody": {"required": True, "content": content}}


CREATE_BODY = _body(
    "ExplanationForm",
    {
        "upload": {"image": "(the bytes of star.jpg)", "model": "shapes"},
        "earlier upload": {"image_id": _BY_ID["id"], "model": "shapes", "targets": '[{"label": "ring"}]'},
    },
    "ExplanationRequest",
    {
        "content": {"image": _BY_CONTENT, "model": "shapes"},
        "address": {"image": _BY_ADDRESS, "model": "shapes", "targets": "top:3", "masks": 2000},
        "earlier upload": {"image": _BY_ID, "model": "shapes", "method": "mc-rise", "targets": [{"label": "ring"}]},
    },
)
PREDICT_BODY = _body(
    "PredictionForm",
    {"upload": {"image": "(the bytes of star.jpg)"}},
    "PredictionRequest",
    {"content": {"image": _BY_CONTENT}, "earlier upload": {"image": _BY_ID}},
)
IMAGES_BODY = _body(
    "ImagesForm",
    {"uploads": {"image": ["(the bytes of star.jpg)", "(the bytes of ring.jpg)"]}},
    "ImagesRequest",
    {"one": {"image": _BY_CONTENT}, "several": {"images": [_BY_CONTENT, _BY_ADDRESS]}},
)
BATCH_BODY = _body(
    "BatchForm",
    {"archive": {"archive": "(the bytes of images.zip)", "model": "shapes"}},
    "BatchRequest",
    {"list": {"images": [_BY_ADDRESS, _BY_ID], "model": "shapes", "masks": 2000}},
)
