import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from redis import Redis

from tests.conftest import SAMPLES, Service
from tests.support.environments import free_port
from tests.support.http_receivers import Answer, receiver
from tests.support.redis_servers import redis_server

COMMAND = str(Path(sys.executable).with_name("rise-serve"))
STAR = str(SAMPLES / "star.jpg")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *arguments], capture_output=True, text=True, timeout=120, check=False)


def test_explain_needs_no_server_and_writes_the_map_and_the_overlay(tmp_path: Path) -> None:
    found = run("explain", STAR, "--model", "shapes", "--masks", "600", "--until", "1", "--out", str(tmp_path / "r"))
    assert found.returncode == 0, found.stderr
    assert "star" in found.stdout
    archive = np.load(tmp_path / "r" / "0.npz")
    width, height = Image.open(STAR).size
    assert archive["map"].shape == (height, width)
    assert Image.open(tmp_path / "r" / "0.overlay.png").size == (width, height)
    assert "640/640 masks" in found.stderr


def test_a_service_gives_the_same_answer_as_this_machine(service: Service, tmp_path: Path) -> None:
    options = ["--model", "shapes", "--masks", "512", "--until", "1"]
    here = run("explain", STAR, *options, "--out", str(tmp_path / "here"))
    there = run("explain", STAR, *options, "--server", service.url, "--out", str(tmp_path / "there"))
    assert here.returncode == there.returncode == 0, there.stderr
    ours, theirs = (np.load(tmp_path / name / "0.npz")["map"] for name in ("here", "there"))
    assert np.allclose(ours, theirs, atol=1e-6)
    assert (tmp_path / "there" / "0.overlay.png").exists()


def test_what_a_service_refuses_is_said_in_a_sentence(service: Service) -> None:
    refused = run("explain", STAR, "--model", "nothing", "--server", service.url)
    assert refused.returncode == 2
    assert refused.stderr.startswith("rise-serve: ")
    assert "shapes" in refused.stderr


@pytest.mark.parametrize("address", ["localhost:8000", "127.0.0.1:8000", "::1", "ftp://127.0.0.1"])
def test_what_is_no_address_of_a_service_is_said_in_a_sentence(address: str) -> None:
    refused = run("explain", STAR, "--model", "shapes", "--server", address)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"rise-serve: {address} is not the address of a service")
    assert "must begin with http:// or https://" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_an_address_of_something_else_is_said_in_a_sentence() -> None:
    page = Answer(200, (b"<h1>Sign in</h1>",), {"Content-Type": "text/html"})
    with receiver(lambda _: page) as other:
        refused = run("explain", STAR, "--model", "shapes", "--server", other.url)
    assert refused.returncode == 2
    assert "text/html, not as rise-serve does: is the address right?" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_predict_says_what_can_be_explained() -> None:
    found = run("predict", STAR, "--model", "shapes", "--json")
    assert json.loads(found.stdout)[0]["name"] == "star"
    assert "star" in run("predict", STAR, "--model", "shapes").stdout


@pytest.mark.slow
def test_json_is_for_machines(tmp_path: Path) -> None:
    options = ["--target", "ring", "--target", "star", "--set", "fill=blur", "--set", "seed=4", "--masks", "512"]
    found = run("explain", STAR, "--model", "shapes", "--json", "--out", str(tmp_path), *options)
    assert found.returncode == 0, found.stderr
    summary = json.loads(found.stdout)
    assert [target["name"] for target in summary["targets"]] == ["ring", "star"]
    assert summary["request"]["parameters"]["fill"] == "blur"
    assert summary["request"]["parameters"]["seed"] == 4
    assert all(Path(path).exists() for target in summary["targets"] for path in target["files"].values())


@pytest.mark.slow
def test_an_audit_is_printed_in_sentences_here_and_from_a_service(tmp_path: Path, service: Service) -> None:
    options = [
        "explain",
        STAR,
        "--model",
        "shapes",
        "--masks",
        "256",
        "--set",
        "seed=303",
        "--audit",
        "--out",
        str(tmp_path),
    ]
    here, there = run(*options), run(*options, "--server", service.url)
    for found in (here, there):
        assert found.returncode == 0, found.stderr
        assert "passes these checks" in " ".join(found.stdout.split())
        assert "pictures" in found.stdout
    assert json.loads(run(*options, "--json").stdout)["audit"]["checks"]


@pytest.mark.slow
def test_mistakes_are_told_in_a_sentence(tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("no image")
    for arguments, word in [
        ((STAR, "--model", "nobody"), "nobody"),
        ((STAR, "--model", "shapes", "--set", "fill=plaid"), "plaid"),
        ((STAR, "--model", "shapes", "--set", "colour=red"), "colour"),
        ((STAR, "--model", "shapes", "--target", "dog"), "dog"),
        ((STAR, "--model", "shapes", "--method", "shap"), "shap"),
        ((str(text), "--model", "shapes"), "read"),
    ]:
        found = run("explain", *arguments, "--out", str(tmp_path / "r"))
        assert found.returncode == 2, arguments
        assert word in found.stderr
        assert "Traceback" not in found.stderr


@pytest.mark.slow
def test_models_says_what_there_is() -> None:
    (card,) = [card for card in json.loads(run("models", "--json").stdout) if card["id"] == "shapes"]
    assert card["state"] == "ready"
    assert "shapes" in run("models").stdout


def keys_at(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, "keys", *arguments],
        env={**os.environ, "REDIS_URL": url},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("arguments", [("add", "somebody"), ("revoke", "0123456789ab")])
def test_a_redis_server_that_answers_and_takes_nothing_in_is_told_in_a_sentence(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    port = free_port()
    with redis_server(tmp_path / "first", port), Redis(port=port) as redis:
        redis.hset("rise:keys", "0123456789abcdef", "{}")
        redis.replicaof("127.0.0.1", 1)
        refused = keys_at(f"redis://127.0.0.1:{port}/0", *arguments)
    assert refused.returncode == 1
    assert refused.stderr.startswith("rise-serve: Redis accepts no writes now")
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "http://127.0.0.1/0"])
def test_keys_without_a_redis_server_are_told_in_a_sentence(url: str) -> None:
    refused = keys_at(url, "list")
    assert refused.returncode == 1
    assert refused.stderr.startswith("rise-serve: ")
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["models"],
        ["predict", STAR, "--model", "x"],
        ["explain", STAR, "--model", "x"],
        ["worker"],
        ["up"],
        ["kserve", "--model_name", "x", "--predictor_host", "127.0.0.1:1"],
    ],
    ids=lambda command: command[0],
)
def test_a_models_file_that_is_not_there_is_named_in_a_sentence(command: list[str], tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    settings = {"RISE_MODELS": str(missing), "RISE_DATA": str(tmp_path), "RISE_PORT": "0", "RISE_OUTAGE_SECONDS": "0"}
    found = subprocess.run(
        [COMMAND, *command], env={**os.environ, **settings}, capture_output=True, text=True, timeout=120, check=False
    )
    assert found.returncode in {1, 2}
    assert found.stdout == ""
    (sentence,) = found.stderr.splitlines()
    assert sentence.startswith("rise-serve: ")
    assert str(missing) in sentence


def test_a_models_file_with_an_error_is_told_without_a_traceback(tmp_path: Path) -> None:
    wrong = tmp_path / "models.toml"
    wrong.write_text('[shapes]\nloader = "nobody"\nsource = "x"\n')
    found = subprocess.run(
        [COMMAND, "models"],
        env={**os.environ, "RISE_MODELS": str(wrong)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 2
    assert f"{wrong}, line 2" in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.slow
def test_packages_of_the_current_folder_are_not_taken_for_ours(tmp_path: Path) -> None:
    for name in ("app", "workers", "rise_client"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('not this one')")
    command = [COMMAND, "explain", STAR, "--model", "shapes", "--masks", "128", "--until", "1", "--json"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert (tmp_path / "result" / "0.overlay.png").exists()
