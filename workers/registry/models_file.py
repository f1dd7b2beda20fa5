"""The models file: which models there are, named by the operator. TOML, one table per model id.

[shapes]
loader = "python"
source = "workers.demo.shapes:load"

What an entry may say is `workers/model_io/model_entry.py`; what the loaders add is in the docstring of each file of
`workers/models/`.
"""

import logging
import re
import tomllib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from app.contract.errors import RiseError
from app.contract.schemas import Identifier
from workers.model_io.model_entry import ModelEntry
from workers.models import check_entry

logger = logging.getLogger(__name__)


class ModelsFileError(ValueError):
    """The models file is missing or invalid; the message names the line, and what is allowed there."""


_ENTRIES = TypeAdapter(dict[Identifier, ModelEntry])


def read_models_file(path: Path) -> dict[str, ModelEntry]:
    """Return the entries of a models file by their id, without those that need modules which are not there.

    Raises:
        ModelsFileError: naming the line in the file, and what is allowed there.
    """
    try:
        text = path.read_text()
        content: dict[str, Any] = tomllib.loads(text)
    except FileNotFoundError as cause:
        raise ModelsFileError(f"there is no models file {path}; RISE_MODELS names the one to read") from cause
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as cause:
        raise ModelsFileError(f"{path}: {cause}") from cause
    try:
        entries = _ENTRIES.validate_python(content)
    except ValidationError as cause:
        raise ModelsFileError("\n".join(_errors(path, text, cause, ()))) from cause
    for model_id, entry in entries.items():
        _check(path, text, model_id, entry)
    return {model_id: entry for model_id, entry in entries.items() if _is_usable(path, model_id, entry)}


def _is_usable(path: Path, model_id: str, entry: ModelEntry) -> bool:
    missing = [name for name in entry.needs if find_spec(name) is None]
    if missing:
        logger.warning("%s: [%s] is left out, because there is no module %s", path, model_id, ", ".join(missing))
    return not missing


def _check(path: Path, text: str, model_id: str, entry: ModelEntry) -> None:
    try:
        check_entry(entry)
    except RiseError as cause:
        line = line_of(text, (model_id, "loader"))
        raise ModelsFileError(f"{path}, line {line}: [{model_id}] loader: {cause.detail}") from cause
    except ValidationError as cause:
        raise ModelsFileError("\n".join(_errors(path, text, cause, (model_id, "options")))) from cause


def _errors(path: Path, text: str, cause: ValidationError, inside: tuple[str, ...]) -> list[str]:
    errors = []
    for error in cause.errors():
        place = (*inside, *(str(part) for part in error["loc"]))
        keys = [part for part in place if re.fullmatch(r"[A-Za-z0-9_-]+", part) and part != "[key]"]
        words = error["msg"]
        if error["type"] == "extra_forbidden":
            words = f"there is no such field; {_allowed(place[:-1])}"
        errors.append(f"{path}, line {line_of(text, keys)}: [{place[0]}] {'.'.join(keys[1:])}: {words}")
    return errors


def _allowed(inside: Sequence[str]) -> str:
    schema: dict[str, Any] = ModelEntry.model_json_schema()
    for part in inside[1:]:
        found = schema.get("properties", {}).get(part, {}).get("$ref", "").rpartition("/")[2]
        schema = ModelEntry.model_json_schema()["$defs"].get(found, {})
    names = ", ".join(schema.get("properties", {}))
    return f"choose from: {names}" if names else "see the loader's description"


def line_of(text: str, keys: Sequence[str]) -> int:
    """Return the line of a TOML text, from 1, that sets a key, or the nearest one above it that is there.

    The standard library's parser keeps no positions. This looks for headers and keys as people write them; where it
    finds a part of the place only, such as the table, that line is returned.
    """
    best, best_depth, table = 1, 0, ()  # type: int, int, tuple[str, ...]
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", line)
        key = re.match(r"\s*([A-Za-z0-9_.\"'-]+)\s*=", line)
        if header:
            table = _parts(header[1])
        if not header and not key:
            continue
        place = table if header or not key else (*table, *_parts(key[1]))
        if place == tuple(keys[: len(place)]) and len(place) > best_depth:
            best, best_depth = number, len(place)
    return best


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
