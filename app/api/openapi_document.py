"""The OpenAPI document: what FastAPI sees of the routes, and schemas of requests made from the methods there are.

Methods are plug-ins of the workers, which the front end must not import. So their parameters come as catalogue cards:
`GET /openapi.json` folds in those of the live workers, and describes requests without parameters in detail only where
none lives. The committed `app/openapi.json` is made from the same cards, which `rise-serve openapi` asks of
`python -m workers methods`: it needs no service, no models and no Redis, and a test holds it against a running service.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, get_args

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from app.api.openapi_components import schema_ref
from app.api.problems import Problem
from app.contract.schemas import ExplanationParams, JsonObject, MethodCard, MetricsRequest
from app.contract.survey import Explained

_MOST_IMAGES = 100

_CREATIONS = {
    "createExplanation": ("/v1/explanations/{explanation_id}", "$response.body#/id"),
    "auditExplanation": ("/v1/explanations/{explanation_id}/audit", "$request.path.explanation_id"),
    "createBatch": ("/v1/batches/{batch_id}", "$response.body#/id"),
    "getBatchReport": ("/v1/batches/{batch_id}/report", "$request.path.batch_id"),
    "uploadImages": ("/v1/images/{image_id}", "$response.body#/images/0/id"),
    "listExplanations": ("/v1/explanations/{explanation_id}", "$response.body#/0/id"),
    "listModels": ("/v1/models/{model_id}", "$response.body#/0/id"),
}

_FILE = {"type": "string", "format": "binary", "description": "JPEG, PNG, WebP, AVIF, BMP, GIF or TIFF."}
_CALLBACK = {
    "anyOf": [{"type": "string", "format": "uri"}, {"type": "null"}],
    "title": "Callback",
    "description": "Told when the explanation has ended, by a signed POST: see `onExplanationEnded` below webhooks.",
    "examples": ["https://hooks.example.com/rise"],
}
_SOURCES: dict[str, JsonObject] = {
    "base64": {
        "type": "string",
        "contentEncoding": "base64",
        "description": "The bytes of the file; a data URL too, with white space, URL-safe, or unpadded.",
    },
    "url": {
        "type": "string",
        "description": "Fetched from there, where the operator allows the host.",
        "examples": ["https://images.example.com/star.jpg"],
    },
    "id": {"type": "string", "description": "Of an earlier upload, as `POST /v1/images` returned it."},
}
_NAME = {
    "type": "string",
    "minLength": 1,
    "maxLength": 200,
    "description": "What the image is called in the batch, and in the file of annotations; default: its address or id.",
}
_IMAGE_FIELDS: dict[str, JsonObject] = {
    "image": _FILE,
    "image_url": {**_SOURCES["url"], "description": "Instead of `image`."},
    "image_id": {**_SOURCES["id"], "description": "Instead of `image`: an earlier upload."},
}

_ANNOTATIONS_FILE = {
    "type": "string",
    "format": "binary",
    "description": "A COCO file of the objects in the images: boxes, polygons or masks, by file name.",
}
_LIST = {"type": "array", "items": {"type": "object"}}
_ANNOTATIONS = {
    "type": "object",
    "properties": {"images": _LIST, "annotations": _LIST, "categories": _LIST},
    "required": ["images", "annotations", "categories"],
    "description": "The same as COCO has it; `file_name` is the name, address or id of an image, or its last part.",
}
_CATEGORIES = {
    "type": "object",
    "additionalProperties": {"type": ["string", "integer"]},
    "description": "Label, by name or index, of categories that have another name than it.",
}


def build_openapi(app: FastAPI, methods: Sequence[MethodCard]) -> JsonObject:
    """Return the OpenAPI document of a front end.

    Args:
        app: whose routes are described.
        methods: whose parameters requests may have; with none of them, requests may have any.
    """
    seen = app.openapi()
    schemas = {**seen["components"]["schemas"], **_shared(), **_of_images(), **_of_requests(methods)}
    components = {**seen["components"], "schemas": dict(sorted(schemas.items()))}
    paths = _of_paths(seen["paths"])
    _link_creations(paths)
    return {**seen, "paths": paths, "components": components}


def _link_creations(paths: JsonObject) -> None:
    """Add links from what an operation creates or lists to all that can be done with it (OpenAPI section 4.8.20).

    What it creates need not have an audit or a report: to those lead the links of the operations that make them.
    """
    operations = {operation["operationId"]: operation for methods in paths.values() for operation in methods.values()}
    for creation in _CREATIONS.keys() & operations.keys():
        path, expression = _CREATIONS[creation]
        parameter = path[path.index("{") + 1 : path.index("}")]
        links = {
            operation["operationId"]: _link(operation, {parameter: expression})
            for below, methods in paths.items()
            if below.startswith(path)
            for method, operation in methods.items()
            if _creation_of(below) == path or (method == "post" and operation["operationId"] in _CREATIONS)
        }
        for status, response in operations[creation]["responses"].items():
            if status.startswith("2"):
                response["links"] = links


def _creation_of(path: str) -> str | None:
    """Return the longest of the paths of what is created that a path begins with."""
    return max((made for made, _ in _CREATIONS.values() if path.startswith(made)), key=len, default=None)


def _link(operation: JsonObject, parameters: JsonObject) -> JsonObject:
    """Return a link to an operation, with the first example of each other part of its path."""
    parts = [parameter for parameter in operation["parameters"] if parameter["in"] == "path"]
    examples = {part["name"]: part["schema"]["examples"][0] for part in parts if part["name"] not in parameters}
    return {"operationId": operation["operationId"], "parameters": {**examples, **parameters}}


def _of_paths(paths: JsonObject) -> JsonObject:
    return {
        path: {method: _of_operation(operation) for method, operation in operations.items()}
        for path, operations in paths.items()
    }


def _of_operation(operation: JsonObject) -> JsonObject:
    """Return an operation that does without a key too, as most operators have it, and whose parameters are text.

    Its summary says what it does, because a list of "Read" and "Create" does not say of what.
    """
    parameters = [
        {**parameter, "schema": _as_text(parameter["schema"])} for parameter in operation.get("parameters", [])
    ]
    changed: JsonObject = {"summary": _first_clause(operation["description"])}
    changed |= {"parameters": parameters} if parameters else {}
    if "security" in operation:
        changed["security"] = [*operation["security"], {}]
    return {**operation, **changed}


def _first_clause(text: str) -> str:
    return re.split(r"[:;.](?:\s|$)", text)[0].replace("\n", " ")


def _object(properties: JsonObject, required: Iterable[str] = (), *, more: bool = False) -> JsonObject:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": more,
    }


def _shared() -> dict[str, JsonObject]:
    """Return the schemas of values that request bodies and problems are made of."""
    _, found = models_json_schema(
        [(Problem, "serialization"), (ExplanationParams, "validation"), (MetricsRequest, "validation")],
        ref_template=schema_ref("{model}")["$ref"],
    )
    return {name: schema for name, schema in found["$defs"].items() if name != "ExplanationParams"}


def _of_images() -> dict[str, JsonObject]:
    """Return the schemas of images in requests, and of requests that have nothing else."""
    kinds = {f"ImageBy{kind.title()}": _object({kind: schema}, [kind]) for kind, schema in _SOURCES.items()}
    listed_kinds = {
        f"NamedImageBy{kind.title()}": _object({kind: _SOURCES[kind], "name": _NAME}, [kind]) for kind in ("url", "id")
    }
    image = schema_ref("ImageSource")
    listed = {"type": "array", "items": image, "minItems": 1, "maxItems": _MOST_IMAGES}
    return {
        **kinds,
        **listed_kinds,
        "ImageSource": {"anyOf": [schema_ref(name) for name in kinds]},
        "PredictionForm": _one_of_fields(_object(_IMAGE_FIELDS), _IMAGE_FIELDS),
        "PredictionRequest": _object({"image": image}, ["image"]),
        "ImagesForm": _object(
            {"image": {"type": "array", "items": _FILE, "minItems": 1, "maxItems": _MOST_IMAGES}}, ["image"]
        ),
        "OneImage": _object({"image": image}, ["image"]),
        "ManyImages": _object({"images": listed}, ["images"]),
        "ImagesRequest": {"anyOf": [schema_ref("OneImage"), schema_ref("ManyImages")]},
    }


def _one_of_fields(schema: JsonObject, names: Iterable[str]) -> JsonObject:
    """Return the schema of an object that has exactly one of some fields, and may have any of its others.

    The choice stands below `allOf`, because generators of clients take `oneOf` beside properties for a union of types.
    """
    return {**schema, "allOf": [{"oneOf": [{"required": [name]} for name in names]}]}


def _of_requests(methods: Sequence[MethodCard]) -> dict[str, JsonObject]:
    """Return the schemas of questions: about one image and about many, as JSON and as forms."""
    listed = {
        "type": "array",
        "items": {"anyOf": [schema_ref("NamedImageByUrl"), schema_ref("NamedImageById")]},
        "minItems": 1,
        "description": "Addresses, or ids of earlier uploads.",
    }
    archive = {"type": "string", "format": "binary", "description": "A zip archive of images."}
    both = {"archive": archive, "images": _as_text(listed)}
    return {
        **_by_method("ExplanationRequest", methods, {"image": schema_ref("ImageSource")}),
        **{
            name: _with_annotations(schema, _ANNOTATIONS, _CATEGORIES) if "properties" in schema else schema
            for name, schema in _by_method("BatchRequest", methods, {"images": listed}).items()
        },
        "ExplanationForm": _form(methods, _IMAGE_FIELDS),
        "BatchForm": _with_annotations(_form(methods, both), _ANNOTATIONS_FILE, _as_text(_CATEGORIES)),
    }


def _with_annotations(batch: JsonObject, annotations: JsonObject, categories: JsonObject) -> JsonObject:
    """Return the schema of a batch with the fields of annotations; a method may have an `explain` of its own."""
    explain = {"enum": list(get_args(Explained)), "type": "string"}
    described = "With annotations: whether annotated classes are explained, or what the model says."
    own = batch["properties"].get("explain")
    more = {
        "annotations": annotations,
        "categories": categories,
        "explain": {"anyOf": [own, explain], "description": described}
        if own
        else {**explain, "description": described},
    }
    return {**batch, "properties": {**batch["properties"], **more}}


def _by_method(name: str, methods: Sequence[MethodCard], own: JsonObject) -> dict[str, JsonObject]:
    """Return one schema for each method, and one that is any of them.

    They are not exclusive: a request that names no method has the parameters of the default of its model's task.
    """
    if not methods:
        return {name: _object({**own, **_question()}, [*own, "model"], more=True)}
    named = {f"{_class_name(card.id)}{name}": card for card in methods}
    schemas = {title: _of_method(card, own) for title, card in named.items()}
    return {**schemas, name: {"anyOf": [schema_ref(title) for title in schemas]}}


def _class_name(method: str) -> str:
    return "".join(part.title() for part in method.split("-"))


def _of_method(card: MethodCard, own: JsonObject) -> JsonObject:
    question = _question()
    const = {"const": card.id, "type": "string"}
    question["method"] = {"anyOf": [const, {"type": "null"}]} if card.default_for else const
    required = [*own, "model", *([] if card.default_for else ["method"])]
    schema = _object({**own, **question, **_parameters(card)}, required)
    return {"description": card.summary, **schema}


def _form(methods: Sequence[MethodCard], own: JsonObject) -> JsonObject:
    """Return the schema of a form: flat, with the fields of all methods, because forms are not told apart by one.

    The server refuses the parameters of another method here too.
    """
    variants: dict[str, list[JsonObject]] = {}
    for name, schema in [pair for card in methods for pair in _parameters(card).items()]:
        kept = {key: value for key, value in schema.items() if key not in {"default", "title"}}
        if kept not in variants.setdefault(name, []):
            variants[name].append(kept)
    fields = {name: found[0] if len(found) == 1 else {"anyOf": found} for name, found in variants.items()}
    question = _question()
    if methods:
        question["method"] = {"enum": [card.id for card in methods], "type": "string"}
    properties = {name: _as_text(schema) for name, schema in {**question, **fields}.items()}
    form = _object({**own, **properties}, ["model"], more=not methods)
    return _one_of_fields({"description": "A field that is empty counts as not sent.", **form}, own)


def _question() -> dict[str, JsonObject]:
    """Return the fields that every question has, and the callback, which goes with it."""
    properties: dict[str, JsonObject] = ExplanationParams.model_json_schema(ref_template=schema_ref("{model}")["$ref"])[
        "properties"
    ]
    return {**properties, "callback": _CALLBACK}


def _as_text(schema: JsonObject) -> JsonObject:
    """Return what stands for a value in a form or an address, where structures are JSON text and nothing is null."""
    if schema.get("type") in {"array", "object"}:
        text = {"type": "string", "contentMediaType": "application/json", "contentSchema": schema}
        return {**text, **({"description": schema["description"]} if "description" in schema else {})}
    kept = {name: value for name, value in schema.items() if name != "default" or value is not None}
    options = [_as_text(option) for option in kept.pop("anyOf", []) if option.get("type") != "null"]
    if len(options) == 1:
        return {**kept, **options[0]}
    return {**kept, "anyOf": options} if options else kept


def _parameters(card: MethodCard) -> dict[str, JsonObject]:
    """Return the properties of a method's JSON Schema with its definitions put in their places."""
    definitions = card.parameters.get("$defs", {})

    def resolve(part: Any) -> Any:
        if isinstance(part, dict):
            if "$ref" in part:
                return resolve(definitions[part["$ref"].rpartition("/")[2]])
            return {name: resolve(value) for name, value in part.items()}
        return [resolve(value) for value in part] if isinstance(part, list) else part

    properties: dict[str, JsonObject] = resolve(card.parameters["properties"])
    return properties
