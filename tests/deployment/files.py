"""The files that the service is deployed with, read as those read them who use them."""

import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
KUBERNETES = DOCKER / "kubernetes"
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
IMAGES = {"rise-serve-app": DOCKER / "app.Dockerfile", "rise-serve-workers": DOCKER / "workers.Dockerfile"}
_VARIABLE = re.compile(r"\$\{(\w+)(?:(:-|:\?)([^}]*))?\}")


def texts() -> dict[str, str]:
    """Return every text file of a deployment by its path from the root."""
    paths = [COMPOSE, *(path for path in DOCKER.rglob("*") if path.is_file() and path.suffix != ".pyc")]
    return {str(path.relative_to(ROOT)): path.read_text() for path in sorted(paths)}


def interpolated(text: str, environment: dict[str, str]) -> str:
    """Return a Compose file with its variables filled in.

    Raises:
        KeyError: if a variable that must be set is not.
    """

    def value(found: re.Match[str]) -> str:
        name, how, otherwise = found.groups()
        if how == ":-":
            return environment.get(name) or str(otherwise)
        return environment[name]

    return _VARIABLE.sub(value, text)


def compose(text: str | None = None) -> dict[str, Any]:
    """Return a Compose file (the project's) with anchors resolved and variables filled in."""
    filled = interpolated(text or COMPOSE.read_text(), {"VALKEY_PASSWORD": "secret"})
    found: dict[str, Any] = yaml.safe_load(filled)
    return found


def services(text: str | None = None) -> dict[str, dict[str, Any]]:
    """Return the services of a Compose file."""
    found: dict[str, dict[str, Any]] = compose(text)["services"]
    return found


def manifests() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every Kubernetes object with the path of its file; kustomizations are none."""
    for path in sorted(KUBERNETES.rglob("*.yaml")):
        if path.name != "kustomization.yaml":
            for document in yaml.safe_load_all(path.read_text()):
                yield str(path.relative_to(KUBERNETES)), document


def kustomizations() -> dict[Path, dict[str, Any]]:
    """Return every kustomization by its folder."""
    return {path.parent: yaml.safe_load(path.read_text()) for path in KUBERNETES.rglob("kustomization.yaml")}


class Instruction(NamedTuple):
    """One instruction of a Dockerfile, without what leads up to it."""

    name: str
    text: str

    def words(self) -> list[str]:
        """Return its words; of the JSON form, its items."""
        return json.loads(self.text) if self.text.startswith("[") else shlex.split(self.text)


def instructions(dockerfile: str) -> list[Instruction]:
    """Return the instructions of a Dockerfile, with their lines joined."""
    lines = [line for line in dockerfile.splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [Instruction(*line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def last_stage(dockerfile: str) -> list[Instruction]:
    """Return the instructions that make the image itself."""
    found = instructions(dockerfile)
    start = max(place for place, instruction in enumerate(found) if instruction.name == "FROM")
    return found[start:]


def image_environment(dockerfile: Path) -> dict[str, str]:
    """Return the environment variables that an image sets."""
    pairs = [word for one in last_stage(dockerfile.read_text()) if one.name == "ENV" for word in one.words()]
    return dict(pair.split("=", 1) for pair in pairs)


def command_of(dockerfile: Path, name: str) -> list[str]:
    """Return the words of CMD, ENTRYPOINT or HEALTHCHECK of an image."""
    text = next(one.text for one in last_stage(dockerfile.read_text()) if one.name == name)
    found: list[str] = json.loads(text[text.index("[") :])
    return found


@cache
def alerts() -> list[dict[str, Any]]:
    """Return the alarms."""
    found: list[dict[str, Any]] = yaml.safe_load((DOCKER / "prometheus/alerts.yml").read_text())["groups"][0]["rules"]
    return found


@cache
def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    found: dict[str, Any] = json.loads((DOCKER / "grafana/rise-serve.json").read_text())
    return found
