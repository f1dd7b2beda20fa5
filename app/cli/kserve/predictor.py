"""A predictor of KServe as an entry of a models file, with what the operator's own file says of the model."""

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from app.contract.schemas import Identifier, JsonObject, RequestModel

AUTHORIZATION = "RISE_PREDICTOR_AUTHORIZATION"
"""The environment variable whose value goes to the predictor as `Authorization`."""


class KServePredictor(RequestModel):
    """What KServe's arguments say; they are checked under their own names.

    Attributes:
        name: of the model, and of its InferenceService.
        host: with a port where it is not the usual one.
        protocol: None takes the one that works.
        secure: whether it is asked over https.
        answer_seconds: how long one request may take; None takes the loader's default.
        retries: likewise.
    """

    name: Identifier = Field(alias="--model_name")
    host: str = Field(alias="--predictor_host", pattern=r"^[A-Za-z0-9._\-:\[\]]+(/[A-Za-z0-9._~\-/]*)?$")
    protocol: Literal["v1", "v2"] | None = Field(None, alias="--predictor_protocol")
    secure: bool = Field(False, alias="--predictor_use_ssl")
    answer_seconds: float | None = Field(None, alias="--predictor_request_timeout_seconds", gt=0, le=3600)
    retries: int | None = Field(None, alias="--predictor_request_retries", ge=0, le=1000)

    @property
    def source(self) -> str:
        """The address of the model, as the loader takes it."""
        server = f"{'https' if self.secure else 'http'}://{self.host.rstrip('/')}"
        return "/".join([server, *([self.protocol] if self.protocol else []), "models", self.name])


def parse_predictor_args(arguments: Mapping[str, Any]) -> KServePredictor:
    """Return the predictor that KServe's arguments name.

    Raises:
        ValueError: naming the arguments at fault.
    """
    try:
        return KServePredictor.model_validate(arguments)
    except ValidationError as cause:
        raise ValueError("; ".join(f"{error['loc'][0]}: {error['msg']}" for error in cause.errors())) from cause


def render_models_file(
    predictor: KServePredictor, file: Path | None, environment: Mapping[str, str] = os.environ
) -> str:
    """Return a models file with one entry: the predictor, and what an operator's file says of it.

    Args:
        predictor: what is explained.
        file: the operator's; its table of the model's name may say what any entry may, `loader` and `source` included.
        environment: where the predictor's token may be.

    Raises:
        ValueError: if the file cannot be read.
    """
    said = {} if file is None else _entry_in(file, predictor.name)
    asked = {"answer_seconds": predictor.answer_seconds, "retries": predictor.retries}
    options: JsonObject = {name: value for name, value in asked.items() if value is not None}
    if environment.get(AUTHORIZATION):
        options["headers_from_environment"] = {"authorization": AUTHORIZATION}
    entry = {"loader": "open-inference", "source": predictor.source, **said}
    entry["options"] = {**options, **said.get("options", {})}
    return "".join([f"[{predictor.name}]\n", *(f"{name} = {toml(value)}\n" for name, value in entry.items())])


def _entry_in(file: Path, name: str) -> JsonObject:
    """Return what a models file says of a model; the file that its labels are in becomes absolute."""
    try:
        entry: Any = tomllib.loads(file.read_text()).get(name, {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as cause:
        raise ValueError(f"{file}: {cause}") from cause
    if not isinstance(entry, dict):
        raise ValueError(f"{file}: {name} is no table")
    if isinstance(entry.get("labels"), str):
        entry["labels"] = str((file.parent / entry["labels"]).absolute())
    return entry


def toml(value: Any) -> str:
    """Return a value in TOML; texts and numbers are written there as in JSON."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(name)} = {toml(part)}" for name, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False, default=str).replace("\x7f", "\\u007f")
