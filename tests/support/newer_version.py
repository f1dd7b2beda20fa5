"""`python -m tests.support.newer_version MODULE:FUNCTION ARGUMENTS` runs a newer version.

Every value that it stores or announces has one more field, and so has every method one more parameter.
"""

import importlib.util
import sys
from importlib import import_module
from pathlib import Path

_ADDED = {
    "app.contract.schemas": ("class StoredModel(BaseModel):", "    added: dict[str, str] = {'by': 'a newer version'}"),
    "workers.explainer.parameters": ("class MaskingParameters(RequestModel):", "    added: int = Field(1, ge=0, le=9)"),
}


def load_changed(name: str) -> None:
    """Import a module with a field added to the class that its other classes are made of."""
    package, _, own = name.rpartition(".")
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    heading, field = _ADDED[name]
    before, after = Path(spec.origin).read_text().split(heading)
    docstring_ends = after.index('"""', after.index('"""') + 3) + 3
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    text = f"{before}{heading}{after[:docstring_ends]}\n\n{field}\n{after[docstring_ends:]}"
    exec(compile(text, spec.origin, "exec"), module.__dict__)
    setattr(import_module(package), own, module)


if __name__ == "__main__":
    load_changed("app.contract.schemas")
    where, _, function = sys.argv.pop(1).partition(":")
    if where.startswith("workers"):
        load_changed("workers.explainer.parameters")
    getattr(import_module(where), function)()
