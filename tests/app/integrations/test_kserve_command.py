"""`rise-serve kserve`: what KServe's arguments become, and what is said where they make no sense."""

import os
import subprocess
import time
import tomllib
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli.kserve.predictor import parse_predictor_args, render_models_file, toml
from tests.support.environments import free_port
from tests.support.kserve_process import COMMAND, SETTINGS, started
from workers.registry.models_file import read_models_file

ARGUMENTS = {"--model_name": "shapes", "--predictor_host": "shapes-predictor.default"}
NAMED = ["--model_name", "shapes", "--predictor_host", "127.0.0.1:9"]


def entry(text: str) -> dict[str, Any]:
    (content,) = tomllib.loads(text).values()
    found: dict[str, Any] = content
    return found


SOURCES = [
    ({}, "http://shapes-predictor.default/models/shapes"),
    ({"--predictor_protocol": "v1"}, "http://shapes-predictor.default/v1/models/shapes"),
    ({"--predictor_protocol": "v2", "--predictor_host": "[::1]:8080"}, "http://[::1]:8080/v2/models/shapes"),
    ({"--predictor_use_ssl": "True", "--predictor_host": "host/behind/"}, "https://host/behind/models/shapes"),
]


@pytest.mark.parametrize(("arguments", "source"), SOURCES)
def test_arguments_become_the_address_of_the_predictor(arguments: dict[str, Any], source: str) -> None:
    assert entry(render_models_file(parse_predictor_args({**ARGUMENTS, **arguments}), None, {}))["source"] == source


def test_an_operators_file_says_the_rest_and_has_the_last_word(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("a\nb\n")
    file = tmp_path / "models.toml"
    file.write_text(
        '[shapes]\nlabels = "names.txt"\npreprocessing.size = 96\noptions = { retries = 3 }\n[other]\nloader = "x"\n'
    )
    more = {"--predictor_request_timeout_seconds": 7, "--predictor_request_retries": 9}
    predictor = parse_predictor_args({**ARGUMENTS, **more})
    found = entry(render_models_file(predictor, file, {"RISE_PREDICTOR_AUTHORIZATION": "Bearer x"}))
    assert found["labels"] == str(tmp_path / "names.txt")
    assert found["preprocessing"] == {"size": 96}
    assert found["options"]["retries"] == 3
    assert found["options"]["answer_seconds"] == 7
    assert found["options"]["headers_from_environment"] == {"authorization": "RISE_PREDICTOR_AUTHORIZATION"}
    assert "Bearer x" not in str(found)


def test_the_file_that_is_made_is_one_that_workers_read(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text('[shapes]\nlabels = ["★", "tab\\t", "\\u007f"]\npreprocessing.mean = [0.5, 1e-3]\npreload = true\n')
    made = tmp_path / "made.toml"
    made.write_text(render_models_file(parse_predictor_args(ARGUMENTS), file, {"RISE_PREDICTOR_AUTHORIZATION": "x"}))
    (read,) = read_models_file(made).values()
    assert read.labels == ["★", "tab\t", "\x7f"]
    assert read.preprocessing.mean == [0.5, 0.001]


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
PLAIN = TEXTS | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner))


@given(VALUES)
def test_whatever_a_file_says_is_said_again(value: Any) -> None:
    assert tomllib.loads(f"value = {toml(value)}") == {"value": value}


MISTAKES = {
    "another protocol": ([*NAMED, "--predictor_protocol", "grpc-v2"], {}, 2, "--predictor_protocol: Input should be"),
    "a name with a slash": (["--model_name", "a/b", "--predictor_host", "x"], {}, 2, "--model_name: "),
    "a host with a password": (["--model_name", "a", "--predictor_host", "me:secret@x"], {}, 2, "--predictor_host: "),
    "a file that is not there": ([*NAMED, "--models", "/nothing.toml"], {}, 2, "/nothing.toml"),
    "a network without a word on keys": (NAMED, {"RISE_KEYS": "", "RISE_HOST": "0.0.0.0"}, 1, "RISE_KEYS"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_a_sentence(mistake: str, tmp_path: Path) -> None:
    arguments, environment, code, words = MISTAKES[mistake]
    found = subprocess.run(
        [*COMMAND, *arguments],
        env={**os.environ, **SETTINGS, "RISE_DATA": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == code, found.stderr
    assert words in found.stderr
    assert "secret" not in found.stderr
    assert "Traceback" not in found.stderr


def readiness(url: str) -> httpx2.Response:
    """Return what is said of the model as soon as anything is known of it."""
    for _ in range(300):
        try:
            answer = httpx2.get(f"{url}/v1/models/shapes", timeout=10)
        except httpx2.TransportError:
            time.sleep(0.2)
            continue
        if "cannot be reached" in answer.text or answer.status_code == 200:
            return answer
        time.sleep(0.2)
    raise AssertionError("nothing is known of the model")


def test_a_predictor_that_is_not_there_yet_makes_no_model_ready(tmp_path: Path) -> None:
    port = free_port()
    later = ["--http_port", str(port), "--predictor_request_retries", "0", "--enable_grpc", "false"]
    with started(tmp_path, *NAMED, *later):
        url = f"http://127.0.0.1:{port}"
        answer = readiness(url)
        assert answer.status_code == 503
        assert "http://127.0.0.1:9/v2/models/shapes cannot be reached" in answer.json()["error"]
        asked = httpx2.post(f"{url}/v1/models/shapes:explain", json={"instances": [[[2]]]}, timeout=30)
        assert asked.status_code == 502
        assert "cannot be reached" in asked.json()["error"]
        assert httpx2.get(f"{url}/readyz", timeout=30).status_code == 503
    assert "not known here, and ignored: --enable_grpc false" in (tmp_path / "explainer.log").read_text()
