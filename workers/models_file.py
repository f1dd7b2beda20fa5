"""The models file: which models there are, named by the operator. TOML, one table per model id.

[shapes]
loader = "python"
source = "workers.demo.shapes:load"
"""

import tomllib
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from app.contract.schemas import Identifier, Value


class ModelEntry(Value):
    """One model of the models file.

    Attributes:
        loader: a file of `workers/models/`.
        source: what the loader takes: a path relative to the models file, a name, `module:callable`.
    """

    loader: str
    source: str


_ENTRIES = TypeAdapter(dict[Identifier, ModelEntry])


def read_models_file(path: Path) -> dict[str, ModelEntry]:
    """Return the entries of a models file by their id.

    Raises:
        ValueError: naming the place in the file, and what is allowed there.
    """
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as cause:
        raise ValueError(f"{path}: {cause}") from cause
    try:
        return _ENTRIES.validate_python(content)
    except ValidationError as cause:
        places = "; ".join(f"[{'.'.join(map(str, error['loc']))}] {error['msg']}" for error in cause.errors())
        raise ValueError(f"{path}: {places}") from cause
