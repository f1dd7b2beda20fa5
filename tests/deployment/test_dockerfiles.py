"""The Dockerfiles: hadolint's rules, and ours."""

import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.deployment.files import DOCKERFILES, ROOT, instructions, last_stage

IDS = [path.name for path in DOCKERFILES]
IGNORED = (ROOT / ".dockerignore").read_text().splitlines()
ALLOWED = [line.removeprefix("!") for line in IGNORED if line.startswith("!")]


def hadolint(dockerfile: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("hadolint")), "--no-color", str(dockerfile)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=IDS)
def test_hadolint_has_nothing_to_say(dockerfile: Path) -> None:
    found = hadolint(dockerfile)
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


def test_hadolint_is_seen_to_complain(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python\nRUN cd /srv\nCMD rise-serve api\n")
    found = hadolint(tmp_path / "Dockerfile")
    assert found.returncode == 1
    assert {"DL3006", "DL3003", "DL3025"} <= set(re.findall(r"DL\d+", found.stdout))


def user_is_a_number(text: str) -> bool:
    users = [one.text for one in last_stage(text) if one.name == "USER"]
    return bool(users) and re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1]) is not None


def starts_without_a_shell(text: str) -> bool:
    found = {one.name: one.text for one in last_stage(text)}
    forms = (found.get("ENTRYPOINT", ""), found.get("CMD", ""), found.get("HEALTHCHECK", "").partition("CMD ")[2])
    return all(form.startswith("[") for form in forms)


def passes_signals_on(text: str) -> bool:
    return any(one.name == "ENTRYPOINT" and "tini" in one.text for one in last_stage(text))


def copies_only_what_is_there(text: str) -> bool:
    copied = [one.words() for one in instructions(text) if one.name == "COPY" and "--from" not in one.text]
    return all(source_is_there(source) for words in copied for source in words[:-1])


def source_is_there(source: str) -> bool:
    reaches = any(source == allowed or source.startswith(f"{allowed}/") for allowed in ALLOWED)
    return reaches and (ROOT / source).exists()


def installs_before_it_copies_code(text: str) -> bool:
    lines = [f"{one.name} {one.text}" for one in instructions(text)]
    install = next((place for place, line in enumerate(lines) if "pip install --constraint" in line), len(lines))
    return install < next(place for place, line in enumerate(lines) if line.startswith("COPY app "))


def says_what_it_is(text: str) -> bool:
    labels = next((one.text for one in last_stage(text) if one.name == "LABEL"), "")
    return all(f"opencontainers.image.{name}=" in labels for name in ("title", "licenses", "version", "revision"))


def pins_its_base(text: str) -> bool:
    bases = re.findall(r"^ARG BASE=(\S+)$", text, re.MULTILINE)
    return len(bases) == 1 and re.fullmatch(r"python:3\.\d+-slim-\w+", bases[0]) is not None


RULES: list[tuple[Callable[[str], bool], str, str]] = [
    (user_is_a_number, "USER 10001:10001", "USER rise"),
    (starts_without_a_shell, 'CMD ["rise-serve"', 'CMD exec ["rise-serve"'),
    (passes_signals_on, "ENTRYPOINT", "# ENTRYPOINT"),
    (copies_only_what_is_there, "COPY app app", "COPY app docker/grafana app"),
    (installs_before_it_copies_code, "COPY pyproject.toml", "COPY app app\nCOPY pyproject.toml"),
    (says_what_it_is, "opencontainers.image.licenses", "opencontainers.image.license"),
    (pins_its_base, "ARG BASE=python:3.11-slim-bookworm", "ARG BASE=python:slim"),
]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=IDS)
@pytest.mark.parametrize(("rule", "right", "wrong"), RULES, ids=[rule.__name__ for rule, _, _ in RULES])
def test_every_rule_holds_and_is_seen_to_be_broken(
    dockerfile: Path, rule: Callable[[str], bool], right: str, wrong: str
) -> None:
    text = dockerfile.read_text()
    assert rule(text)
    assert right in text
    assert not rule(text.replace(right, wrong))


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=IDS)
def test_the_image_says_the_version_of_the_service(dockerfile: Path) -> None:
    assert f"ARG VERSION={version('rise-serve')}\n" in dockerfile.read_text()


def test_nothing_reaches_a_builder_that_no_image_is_made_of() -> None:
    assert "*" in IGNORED
    sources = [
        source
        for dockerfile in DOCKERFILES
        for one in instructions(dockerfile.read_text())
        if one.name == "COPY" and "--from" not in one.text
        for source in one.words()[:-1]
    ]
    assert {source for source in sources if not source.startswith("workers/")} == set(ALLOWED)
