"""What FastAPI cannot see by itself: request bodies that are a form or JSON, and problem responses.

Schemas are named here and defined in `app/api/openapi_document.py`, because those of requests depend on the methods
there are.
"""

from collections.abc import Iterable
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
    "ETag": header(
        "Names exactly these bytes; begins with `W/` where they are compressed. Send it back as `If-None-Match`.",
        '"0f343b0931126a20f133d67c2b018a3b"',
    ),
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
_ADDRESS = "https://images.example.com/star.jpg"
_BY_ADDRESS = {"url": _ADDRESS}
_ENCODINGS: _JsonObject = {
    "image": {"contentType": "image/jpeg, image/png, image/webp, image/gif, image/*"},
    "archive": {"contentType": "application/zip"},
    "annotations": {"contentType": "application/json"},
}


def _body(
    form: str, files: Iterable[str], form_examples: _JsonObject, json: str, json_examples: _JsonObject
) -> _JsonObject:
    """Return the body of an operation: its two schemas, the files of the form, and examples of each by name.

    Examples can be sent as they are; so those of forms have no files.
    """
    encoding = {name: _ENCODINGS[name] for name in files}
    content = {
        "multipart/form-data": {**_schema_with_examples(form, form_examples), "encoding": encoding},
        "application/json": _schema_with_examples(json, json_examples),
    }
    return {"requestBody": {"required": True, "content": content}}


def _schema_with_examples(name: str, examples: _JsonObject) -> _JsonObject:
    named = {"examples": {title: {"value": value} for title, value in examples.items()}} if examples else {}
    return {"schema": schema_ref(name), **named}


CREATE_BODY = _body(
    "ExplanationForm",
    ["image"],
    {"address": {"image_url": _ADDRESS, "model": "shapes", "targets": '[{"label": "ring"}]'}},
    "ExplanationRequest",
    {
        "content": {"image": _BY_CONTENT, "model": "shapes"},
        "address": {"image": _BY_ADDRESS, "model": "shapes", "targets": "top:3", "masks": 2000},
        "colours": {"image": _BY_CONTENT, "model": "shapes", "method": "mc-rise", "targets": [{"label": "ring"}]},
    },
)
PREDICT_BODY = _body(
    "PredictionForm",
    ["image"],
    {"address": {"image_url": _ADDRESS}},
    "PredictionRequest",
    {"content": {"image": _BY_CONTENT}},
)
IMAGES_BODY = _body(
    "ImagesForm",
    ["image"],
    {},
    "ImagesRequest",
    {"one": {"image": _BY_CONTENT}, "several": {"images": [_BY_CONTENT, _BY_CONTENT]}},
)
BATCH_BODY = _body(
    "BatchForm",
    ["archive", "annotations"],
    {"list": {"images": f'[{{"url": "{_ADDRESS}"}}]', "model": "shapes"}},
    "BatchRequest",
    {"list": {"images": [_BY_ADDRESS], "model": "shapes", "masks": 2000}},
)
