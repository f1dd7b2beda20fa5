"""The table of settings in the operator's page: `python -m tests.deployment.settings_table` writes it."""

from annotated_types import Ge, Gt, Le
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from app.cli.kserve.predictor import AUTHORIZATION
from app.contract.settings import Settings
from tests.deployment.files import DOCKER

PAGE = DOCKER / "OPERATING.md"
START, END = "<!-- settings: made by tests/deployment/settings_table.py -->", "<!-- end of settings -->"


def environment_names() -> set[str]:
    """Return every environment variable that is a setting, or belongs to `rise-serve kserve` alone."""
    prefixed = {f"RISE_{name.upper()}" for name in Settings.model_fields}
    return prefixed | {"REDIS_URL", AUTHORIZATION}


def settings_table() -> str:
    """Return the table in Markdown."""
    rows = [_row(name, field) for name, field in Settings.model_fields.items()]
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows])


def _row(name: str, field: FieldInfo) -> str:
    also = " or `REDIS_URL`" if name == "redis_url" else ""
    return f"| `RISE_{name.upper()}`{also} | {_default(name, field)} | {field.description}{_limits(field)} |"


def _default(name: str, field: FieldInfo) -> str:
    folders = {"data": "`~/.local/share/rise-serve`", "models": "`workers/demo/models.toml`"}
    if name in folders:
        return folders[name]
    if field.default in (None, "", PydanticUndefined) or isinstance(field.default, SecretStr):
        return "none"
    return f"`{field.default}`"


def _limits(field: FieldInfo) -> str:
    words = {Ge: "at least {}", Gt: "more than {}", Le: "at most {}"}
    bounds = [
        words[type(one)].format(getattr(one, type(one).__name__.lower()))
        for one in field.metadata
        if type(one) in words
    ]
    return f" ({', '.join(bounds)})" if bounds else ""


def with_settings(page: str) -> str:
    """Return the page with the table as it should be."""
    before, rest = page.split(START)
    return f"{before}{START}\n\n{settings_table()}\n\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(with_settings(PAGE.read_text()))
