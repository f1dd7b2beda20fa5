"""Loads the Lua scripts of `lua/`, which change several keys of Redis in one step.

A script's header documents its KEYS and ARGV. Scripts share the functions in `lua/functions/`: a script names the files
that it calls in lines `-- requires: name`, and their text is put before its own, each once.
"""

import re
from functools import cache
from importlib.resources import files

_REQUIRES = re.compile(r"^-- requires: (\w+)$", re.MULTILINE)


@cache
def lua(name: str) -> str:
    """Return the text of the script `lua/<name>.lua` with everything that it requires before it.

    Raises:
        FileNotFoundError: for a name without a file.
    """
    return "\n".join(_texts(f"{name}.lua"))


def _texts(path: str) -> dict[str, None]:
    """Return the texts of a script and of what it requires, as keys in the order in which they must stand."""
    text = (files("app.contract") / "lua" / path).read_text()
    required = (_texts(f"functions/{name}.lua") for name in _REQUIRES.findall(text))
    return {**{part: None for parts in required for part in parts}, text: None}
