"""The operator's page says what is so."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from app.cli.healthcheck import CHECKS
from app.cli.main import cli
from app.contract.redis.keys import API_KEYS, WORKERS, record_key
from tests.deployment.files import (
    DOCKERFILES,
    IMAGES,
    ROOT,
    alerts,
    command_of,
    image_environment,
    kustomizations,
    manifests,
    services,
    texts,
)
from tests.deployment.settings_table import PAGE, environment_names, settings_table, with_settings

TEXT = PAGE.read_text()
SETTING = re.compile(r"\bRISE_[A-Z][A-Z_]*[A-Z]\b")
SOURCE = "\n".join(path.read_text() for folder in ("app", "workers") for path in (ROOT / folder).rglob("*.py"))


def headings(text: str, level: int) -> list[str]:
    return re.findall(rf"^{'#' * level} (.+)$", text, re.MULTILINE)


def section(title: str) -> str:
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_every_alarm_has_an_entry_and_every_entry_an_alarm() -> None:
    assert headings(section("Alarms"), 3) == [one["alert"] for one in alerts()]


def test_the_entry_of_an_alarm_says_how_bad_it_is() -> None:
    for one in alerts():
        entry = TEXT.split(f"\n### {one['alert']}\n\n")[1]
        assert entry.startswith(f"*{one['labels']['severity']}.*"), one["alert"]


def test_the_table_of_settings_is_the_settings() -> None:
    assert with_settings(TEXT) == TEXT, "run python -m tests.deployment.settings_table"
    assert (
        "| `RISE_PORT` | `8000` | Port that the front end listens on. (at least 0, at most 65535) |" in settings_table()
    )


def test_a_table_that_is_not_is_found() -> None:
    assert with_settings(TEXT.replace("`8000`", "`8001`")) == TEXT


@pytest.mark.parametrize("path", list(texts()))
def test_every_setting_that_a_file_names_is_one(path: str) -> None:
    assert set(SETTING.findall(texts()[path])) - environment_names() == set()


def test_a_setting_that_does_not_exist_is_found() -> None:
    assert set(SETTING.findall("RISE_KEEP=1 RISE_PORT: 2")) - environment_names() == {"RISE_KEEP"}


def commands() -> list[list[str]]:
    """Return every command of ours that a file starts."""
    started = [command_of(path, name) for path in DOCKERFILES for name in ("CMD", "HEALTHCHECK")]
    for one in services().values():
        started += [one.get("command", []), one.get("healthcheck", {}).get("test", [])[1:]]
    for _, manifest in manifests():
        for box in manifest["spec"].get("template", {}).get("spec", {}).get("containers", []):
            started.append(box.get("args", []))
            started += [box[name]["exec"]["command"] for name in box if name.endswith("Probe") and "exec" in box[name]]
    return [words for words in started if words and words[0] in {"rise-serve", "python"}]


def is_there(words: list[str]) -> bool:
    """Return whether a command line of ours would find what it names."""
    if words[0] == "python":
        return words[1:3] == ["-m", "app.cli.healthcheck"] and words[3] in CHECKS
    found: object = typer.main.get_command(cli)
    for word in words[1:]:
        if not hasattr(found, "commands") or word not in found.commands:
            return not hasattr(found, "commands")
        found = found.commands[word]
    return True


def test_every_command_that_a_container_starts_is_there() -> None:
    assert len(commands()) >= 9
    assert [words for words in commands() if not is_there(words)] == []


@pytest.mark.parametrize(
    "wrong",
    ["rise-serve serve", "rise-serve keys make", "python -m app.cli.healthcheck apis", "python -m app.health api"],
)
def test_a_command_that_does_not_exist_is_found(wrong: str) -> None:
    assert not is_there(shlex.split(wrong))


def test_every_command_of_ours_on_the_page_is_there() -> None:
    quoted = re.findall(r"rise-serve (keys add|keys revoke|keys list|webhooks|explain|up)\b", TEXT)
    assert len(set(quoted)) == 6
    assert all(is_there(["rise-serve", *words.split()]) for words in set(quoted))


def test_the_log_lines_on_the_page_are_written_somewhere() -> None:
    lines = re.findall(r"^\| `([^`]+)` \|", section("Logs"), re.MULTILINE)
    assert len(lines) >= 10
    assert [line for line in lines if line not in SOURCE] == []


def test_a_log_line_that_nobody_writes_is_found() -> None:
    assert "everything is fine" not in SOURCE


def test_the_keys_in_redis_on_the_page_are_the_ones_used() -> None:
    named = set(re.findall(r"\b(rise:[a-z]+)", TEXT))
    assert named == {API_KEYS, WORKERS, record_key("").rstrip(":")}


def test_every_link_on_the_page_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for n in (2, 3) for title in headings(TEXT, n)
    }
    assert [link for link in links if not leads_somewhere(link, anchors)] == []
    assert {one["annotations"]["runbook"].partition("#")[2] for one in alerts()} <= anchors


def leads_somewhere(link: str, anchors: set[str]) -> bool:
    return link[1:] in anchors if link.startswith("#") else (PAGE.parent / Path(link)).exists()


def test_the_ports_of_all_files_are_the_one_that_the_front_end_listens_on() -> None:
    port = next(line for line in (ROOT / "docker/app.Dockerfile").read_text().splitlines() if line.startswith("EXPOSE"))
    boxes = {
        box["name"]: box
        for _, one in manifests()
        for box in one["spec"].get("template", {}).get("spec", {}).get("containers", [])
    }
    assert services()["app"]["ports"][0].split(":")[-1] == port.split()[1]
    assert str(boxes["app"]["ports"][0]["containerPort"]) == port.split()[1]
    assert f"port: {port.split()[1]}," in texts()["docker/prometheus/prometheus.yml"]
    assert "RISE_PORT" not in image_environment(IMAGES["rise-serve-app"])


def test_what_the_configuration_of_kubernetes_sets_are_settings() -> None:
    literals = [
        literal
        for one in kustomizations().values()
        for generator in one.get("configMapGenerator", [])
        for literal in generator["literals"]
    ]
    assert literals
    assert {literal.partition("=")[0] for literal in literals} <= environment_names()
