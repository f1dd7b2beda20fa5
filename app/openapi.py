"""What FastAPI cannot see by itself: request bodies that are a form or JSON, and problem responses."""

from typing import Any

from app.contract.schemas import Question
from app.problems import MEDIA_TYPE, Problem

PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "The request is wrong.", "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}},
    "5XX": {"description": "It failed here.", "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}},
}


def header(description: str, example: str) -> dict[str, Any]:
    """Return the description of a header of an answer."""
    return {"description": description, "schema": {"type": "string"}, "example": example}


FRESHNESS = {
    "ETag": header("Names exactly these bytes; send it back as `If-None-Match`.", '"0f343b0931126a20f133d67c2b018a3b"'),
    "Cache-Control": header("How long the answer stays right.", "private, max-age=86000, immutable"),
}
NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    304: {"description": "The client's copy is still right.", "headers": FRESHNESS}
}

_FILE = {"type": "string", "format": "binary", "description": "JPEG, PNG, WebP, BMP, GIF or TIFF."}
_NAMED: dict[str, dict[str, Any]] = {
    "base64": {"type": "string", "format": "byte", "description": "The bytes of the file."},
    "url": {
        "type": "string",
        "format": "uri",
        "description": "Fetched from there, where the operator allows the host.",
        "examples": ["https://images.example.com/star.jpg"],
    },
    "id": {"type": "string", "description": "Of an earlier upload, as `POST /v1/images` returned it."},
}


def _object(properties: dict[str, Any], required: list[str], *, more: bool) -> dict[str, Any]:
    return {"schema": {"type": "object", "properties": properties, "required": required, "additionalProperties": more}}


def _image(*kinds: str) -> dict[str, Any]:
    return {"oneOf": [_object({kind: _NAMED[kind]}, [kind], more=False)["schema"] for kind in kinds]}


IMAGE = _image("base64", "url", "id")


def _body(properties: dict[str, Any], required: list[str], *, more: bool) -> dict[str, Any]:
    image_or_name = {
        "image": _FILE,
        "image_url": {**_NAMED["url"], "description": "Instead of `image`."},
        "image_id": {**_NAMED["id"], "description": "Instead of `image`: an earlier upload."},
    }
    return {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": _object(image_or_name | properties, required, more=more),
                "application/json": _object({"image": IMAGE, **properties}, ["image", *required], more=more),
            },
        }
    }


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the properties of a JSON Schema with its definitions put in their places."""
    definitions = schema.pop("$defs", {})

    def resolve(part: Any) -> Any:
        if isinstance(part, dict):
            if "$ref" in part:
                return resolve(definitions[part["$ref"].rpartition("/")[2]])
            return {name: resolve(value) for name, value in part.items()}
        return [resolve(value) for value in part] if isinstance(part, list) else part

    properties: dict[str, Any] = resolve(schema["properties"])
    return properties


# `more`: the parameters of the method, described by `GET /v1/methods`; unknown ones are refused when a request is made.
_CALLBACK = {
    "type": "string",
    "format": "uri",
    "description": "Told when the explanation has ended, by a signed POST: see `onExplanationEnded` below webhooks.",
    "examples": ["https://hooks.example.com/rise"],
}
QUESTION = {**_inlined(Question.model_json_schema()), "callback": _CALLBACK}
CREATE_BODY = _body(QUESTION, ["model"], more=True)
PREDICT_BODY = _body({}, [], more=False)
IMAGES_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": _object({"image": {"type": "array", "items": _FILE}}, ["image"], more=False),
            "application/json": _object(
                {"image": IMAGE, "images": {"type": "array", "items": IMAGE, "maxItems": 100}}, [], more=False
            ),
        },
    }
}

_LISTED = {
    "type": "array",
    "items": _image("url", "id"),
    "minItems": 1,
    "description": "Addresses, or ids of earlier uploads.",
    "examples": [[{"url": "https://images.example.com/star.jpg"}, {"id": "..."}]],
}
_ARCHIVE = {"type": "string", "format": "binary", "description": "A zip archive of images."}
BATCH_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": _object({"archive": _ARCHIVE, "images": _LISTED, **QUESTION}, ["model"], more=True),
            "application/json": _object({"images": _LISTED, **QUESTION}, ["images", "model"], more=True),
        },
    }
}
