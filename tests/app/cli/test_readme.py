"""Every command of the README is run here, as it stands there."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from tests.conftest import Service, start_service, stop_service, wait_for_models

SCAFFOLDS = {"clever-hans": "nothing-found", "scaffold": "alarm", "scaffold-smooth": "nothing-found"}
ROOT = Path(__file__).resolve().parents[3]
README = (ROOT / "README.md").read_text()
COMMANDS = [block.strip() for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)]


def run(command: str, folder: Path, service: Service) -> str:
    here = command.replace("http://127.0.0.1:8000", service.url).replace("workers/demo", str(ROOT / "workers/demo"))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    found = subprocess.run(
        shlex.split(here), cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True
    )
    return found.stdout


def test_the_commands_are_the_ones_run_here() -> None:
    assert [command.split()[0] for command in COMMANDS] == ["make", *["curl"] * 3, "rise-serve", *["curl"] * 4]


def test_make_run_starts_what_the_tests_start() -> None:
    recipe = subprocess.run(["make", "--dry-run", "run"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "rise-serve up" in recipe


def test_the_curl_lines_explain_the_sample_and_fetch_the_overlay(service: Service, tmp_path: Path) -> None:
    _, create, fetch, *_ = COMMANDS
    body = json.loads(run(create, tmp_path, service))
    assert body["status"] == "succeeded"
    target = body["targets"][0]
    assert (target["label"], target["name"]) == (3, "star")
    run(fetch.replace("<id>", body["id"]), tmp_path, service)
    assert Image.open(tmp_path / "overlay.png").size == (body["image"]["width"], body["image"]["height"])


def test_what_the_readme_shows_is_what_comes(service: Service, tmp_path: Path) -> None:
    target = json.loads(run(COMMANDS[1], tmp_path, service))["targets"][0]
    shown = re.search(r'"score": ([\d.]+), "reliability": ([\d.]+), "peak": \[([\d.]+), ([\d.]+)\]', README)
    assert shown
    assert abs(float(shown[1]) - target["score"]) < 0.02
    assert abs(float(shown[2]) - target["reliability"]) < 0.02
    assert abs(float(shown[3]) - target["peak"][0]) < 20
    assert abs(float(shown[4]) - target["peak"][1]) < 20


def test_what_make_run_prints_can_be_pasted(service: Service, tmp_path: Path) -> None:
    create, fetch = re.findall(r"curl .*", service.greeting)
    body = json.loads(run(create, tmp_path, service))
    assert body["id"] in fetch
    run(fetch, tmp_path, service)
    assert (tmp_path / "overlay.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_photographs_of_everything_are_explained_by_what_make_run_serves(tmp_path: Path) -> None:
    data = pytest.importorskip("skimage.data")
    running = start_service(tmp_path / "data", RISE_MODELS=str(ROOT / "workers/demo/models.toml"))
    try:
        wait_for_models(running)
        for photograph, name in (("chelsea", "tiger cat"), ("coffee", "espresso"), ("rocket", "missile")):
            Image.fromarray(getattr(data, photograph)()).save(tmp_path / "photo.png")
            body = json.loads(run(COMMANDS[3].replace("photo.jpg", "photo.png"), tmp_path, running))
            assert body["status"] == "succeeded", body
            assert body["targets"][0]["name"] == name
    finally:
        stop_service(running)


def test_the_command_line_works_without_a_server(service: Service, tmp_path: Path) -> None:
    run(COMMANDS[4], tmp_path, service)
    assert (tmp_path / "result" / "0.overlay.png").exists()


def test_the_curl_line_of_an_audit_says_what_it_found(service: Service, tmp_path: Path) -> None:
    explanation = json.loads(run(COMMANDS[1], tmp_path, service))
    audit = json.loads(run(COMMANDS[5].replace("<id>", explanation["id"]), tmp_path, service))
    assert audit["verdict"] == "nothing-found"


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_curl_lines_about_models_that_hide_say_what_the_readme_says(tmp_path: Path) -> None:
    explain, audit, with_low_opacity = COMMANDS[6:]
    running = start_service(tmp_path / "data", RISE_MODELS=str(ROOT / "workers/demo/models.toml"))
    try:
        wait_for_models(running)
        for model, verdict in SCAFFOLDS.items():
            explanation = json.loads(run(explain.replace("=scaffold", f"={model}"), tmp_path, running))
            assert explanation["targets"][0]["name"] == "star"
            assert is_on_mark(explanation) == (model == "clever-hans")
            assert json.loads(run(audit.replace("<id>", explanation["id"]), tmp_path, running))["verdict"] == verdict
        assert is_on_mark(json.loads(run(with_low_opacity, tmp_path, running)))
    finally:
        stop_service(running)


def is_on_mark(explanation: dict[str, Any]) -> bool:
    x, y = explanation["targets"][0]["peak"]
    return bool(x < 126 and y >= 296)


def test_every_link_in_the_readme_leads_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if not link.startswith("http")]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_endpoints_that_the_readme_names_exist(service: Service) -> None:
    for path in ("/docs", "/v1/methods"):
        assert httpx2.get(service.url + path).status_code == 200
