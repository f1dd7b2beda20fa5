"""API keys over real HTTP: who gets in, what a scope allows, and that tenants do not see each other."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from redis import Redis

from app.auth.api_keys import ApiKey, ApiKeyStore, Limits
from app.cli.bind_check import is_loopback
from tests.conftest import SAMPLES, Service, start_service, stop_service
from tests.support.api_keys import client, keys, new_key

COMMAND = str(Path(sys.executable).with_name("rise-serve"))
WAIT = {"Prefer": "wait=60"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that asks for keys."""
    running = start_service(tmp_path_factory.mktemp("guarded") / "data", RISE_KEYS="on")
    yield running
    stop_service(running)


def explain(http: httpx2.Client, image: bytes, **fields: Any) -> httpx2.Response:
    data = {"model": "shapes", "masks": "256", "until": "1", **{name: str(value) for name, value in fields.items()}}
    return http.post("/v1/explanations", files={"image": image}, data=data, headers=WAIT)


def a_key(**fields: Any) -> ApiKey:
    return ApiKey(**{"name": "n", "tenant": "t", "scopes": ["read"], "created_at": datetime.now(UTC), **fields})


def test_a_secret_is_256_bits_shown_once_and_kept_as_a_hash(redis: Redis) -> None:
    store = ApiKeyStore(redis)
    secrets = {store.add(a_key()) for _ in range(20)}
    assert len(secrets) == 20
    assert all(re.fullmatch(r"rise_[A-Za-z0-9_-]{43}", secret) for secret in secrets)
    kept: Any = redis.hgetall("rise:keys")
    everything = b"".join(name + value for name, value in kept.items())
    assert not any(secret.encode() in everything or secret[5:].encode() in everything for secret in secrets)


def test_a_key_is_found_by_its_secret_until_it_is_revoked_or_expires(redis: Redis) -> None:
    store = ApiKeyStore(redis)
    secret = store.add(a_key(limits=Limits(max_pending=3)))
    found = store.find(secret)
    assert found is not None
    assert found[1].limits.max_pending == 3
    assert list(store.all()) == [found[0]]
    assert store.find(secret + "x") is None
    assert store.find("") is None
    assert store.revoke(found[0])
    assert not store.revoke(found[0])
    assert store.find(secret) is None
    assert store.find(store.add(a_key(expires_at=datetime.now(UTC) - timedelta(seconds=1)))) is None
    assert store.find(store.add(a_key(expires_at=datetime.now(UTC) + timedelta(hours=1)))) is not None


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "bearer rise_wrong", "Basic cmlzZTpyaXNl", "rise_wrong"])
def test_without_a_valid_key_nothing_is_told(guarded: Service, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    with httpx2.Client(base_url=guarded.url, headers=headers) as http:
        for path in ("/v1/models", "/v1/methods", "/v1/fills", "/v1/explanations/x", "/v1/explanations/x/maps/0.png"):
            answer = http.get(path)
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["code"] == "unauthorized"
        assert explain(http, b"").status_code == 401


def test_a_key_in_the_address_is_no_key(guarded: Service) -> None:
    secret = new_key(guarded, "address")
    for name in ("key", "api_key", "access_token", "token"):
        assert httpx2.get(f"{guarded.url}/v1/models", params={name: secret}).status_code == 401


def test_health_and_documentation_need_no_key(guarded: Service) -> None:
    for path in ("/livez", "/readyz", "/docs", "/openapi.json"):
        assert httpx2.get(guarded.url + path).status_code == 200, path


def test_the_scheme_stands_in_the_openapi_of_everything_that_needs_a_key(guarded: Service) -> None:
    described = httpx2.get(f"{guarded.url}/openapi.json").json()
    (scheme,) = described["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    for path, operations in described["paths"].items():
        for operation in operations.values():
            assert ("security" in operation) == (path not in {"/livez", "/readyz"}), path


def test_a_scope_allows_what_it_names_and_nothing_else(guarded: Service, star: bytes) -> None:
    with client(guarded, "reader", "--tenant", "a", "--scope", "read") as http:
        assert http.get("/v1/models").status_code == 200
        answer = explain(http, star)
        assert answer.status_code == 403
        assert answer.json()["code"] == "forbidden"
        assert "'explain'" in answer.json()["detail"]
    with client(guarded, "writer", "--tenant", "a", "--scope", "explain") as http:
        here = explain(http, star).json()["links"]["self"]
        answer = http.get(here)
        assert answer.status_code == 403
        assert "'read'" in answer.json()["detail"]


def test_metrics_are_for_administrators(guarded: Service) -> None:
    assert httpx2.get(f"{guarded.url}/metrics").status_code == 401
    with client(guarded, "curious") as http:
        assert http.get("/metrics").status_code == 403
    with client(guarded, "prometheus", "--scope", "admin") as http:
        assert http.get("/metrics").status_code == 200


def test_a_revoked_key_is_refused_at_once(guarded: Service) -> None:
    with client(guarded, "short-lived") as http:
        assert http.get("/v1/models").status_code == 200
        (key,) = [key for key in json.loads(keys(guarded, "list", "--json").stdout) if key["name"] == "short-lived"]
        assert keys(guarded, "revoke", key["id"]).exit_code == 0
        assert http.get("/v1/models").status_code == 401
    assert "there is no key" in keys(guarded, "revoke", key["id"]).stderr


def test_a_key_with_a_wrong_right_is_not_made(guarded: Service) -> None:
    for arguments in (["x", "--scope", "everything"], ["x", "--tenant", "a b"], ["x", "--max-pending", "0"]):
        found = keys(guarded, "add", *arguments)
        assert found.exit_code == 2, arguments
        assert "Traceback" not in found.stderr
        assert found.stdout == ""


def test_what_belongs_to_another_tenant_does_not_exist(guarded: Service, star: bytes) -> None:
    """Every address of the OpenAPI description is tried with another tenant's id and with an invented one."""
    paths = httpx2.get(f"{guarded.url}/openapi.json").json()["paths"]
    with client(guarded, "owner", "--tenant", "owner") as owner, client(guarded, "thief", "--tenant", "thief") as thief:
        body = explain(owner, star).json()
        tried = 0
        for path, operations in paths.items():
            for verb in operations:
                if "{explanation_id}" not in path:
                    continue
                real, invented = (seen(thief, verb, path, id) for id in (body["id"], "0" * 32))
                assert real == invented, (verb, path)
                assert real[0] == 404, (verb, path)
                tried += 1
        assert tried >= 5
        assert owner.get(body["links"]["self"]).json()["status"] == "succeeded"


def seen(http: httpx2.Client, verb: str, path: str, explanation_id: str) -> tuple[int, str]:
    """Return status and body of an answer, with the id that was asked for taken out."""
    address = re.sub(r"\{(?!explanation_id)[^}]*\}", "0.png", path).replace("{explanation_id}", explanation_id)
    answer = http.request(verb.upper(), address, json={} if verb == "post" else None)
    return answer.status_code, answer.text.replace(explanation_id, "ID")


def test_the_same_picture_is_another_explanation_for_another_tenant(guarded: Service, star: bytes) -> None:
    with client(guarded, "one", "--tenant", "one") as one, client(guarded, "two", "--tenant", "two") as two:
        first, second = (explain(http, star).json() for http in (one, two))
        assert first["id"] != second["id"]
        with client(guarded, "one-too", "--tenant", "one") as colleague:
            assert colleague.get(first["links"]["self"]).status_code == 200
            assert explain(colleague, star).json()["id"] == first["id"]


@pytest.mark.parametrize(("host", "alone"), [
    ("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True),
    ("0.0.0.0", False), ("::", False), ("192.168.0.5", False), ("example.org", False),
])  # fmt: skip
def test_only_loopback_addresses_are_this_machine_alone(host: str, alone: bool) -> None:
    assert is_loopback(host) == alone


def test_a_network_is_not_served_without_keys_unless_that_was_said(tmp_path: Path) -> None:
    environment = {**os.environ, "RISE_HOST": "0.0.0.0", "RISE_PORT": "0", "RISE_DATA": str(tmp_path)}
    for command in ("up", "api"):
        found = subprocess.run(
            [COMMAND, command], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert found.returncode == 1
        assert "RISE_KEYS" in found.stderr
        assert "Traceback" not in found.stderr


def test_a_network_is_served_without_keys_when_that_was_said_and_it_is_said_loudly(tmp_path: Path) -> None:
    service = start_service(tmp_path / "data", RISE_HOST="0.0.0.0", RISE_KEYS="off")
    try:
        assert httpx2.get(f"{service.url}/v1/models").status_code == 200
        assert "WARNING: everybody who can reach 0.0.0.0" in (tmp_path / "data.log").read_text()
    finally:
        stop_service(service)


def test_the_keys_of_a_service_that_does_not_run_cannot_be_listed(tmp_path: Path) -> None:
    environment = {**os.environ, "REDIS_URL": f"unix://{tmp_path}/nothing"}
    found = subprocess.run([COMMAND, "keys", "list"], env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert "REDIS_URL" in found.stderr


def test_the_sample_is_explained_with_a_key_as_the_greeting_says(guarded: Service) -> None:
    assert "Authorization: Bearer $KEY" in guarded.greeting
    with client(guarded, "greeted") as http:
        body = explain(http, (SAMPLES / "star.jpg").read_bytes()).json()
        assert http.get(body["targets"][0]["links"]["overlay"]).headers["content-type"] == "image/png"
