"""A server that is reached by TLS with certificates on both sides, as a user that may do no more than it must."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
import trustme
from redis import Redis
from redis.exceptions import ConnectionError, ResponseError

from app.contract.redis.client import connect
from tests.app.batches.test_batches import pictures, send, wait_for
from tests.app.batches.test_zip_reader import packed
from tests.app.explanations.test_events import endless
from tests.conftest import Service, start_service, stop_service
from tests.support.api_requests import WAIT, explain
from tests.support.environments import ROOT, free_port
from tests.support.redis_servers import issue_certificates, redis_server
from tests.support.sse import opened
from tests.support.tcp_gate import gate_to
from tests.system.test_worker_faults import ended, submit, wait_for_masks

pytestmark = pytest.mark.slow

_PASSWORD = "p@ss:word/"


@dataclass(frozen=True)
class Secured:
    """A server with TLS and an ACL.

    Attributes:
        url: with everything that is needed.
        address: host and port.
        plain_port: where the server itself listens, without TLS.
        authority: PEM file of whom to trust.
    """

    url: str
    address: str
    plain_port: int
    authority: Path


def the_rule() -> str:
    """Return the rule that operators are told to use."""
    (rule,) = re.findall(r"^user rise .*$", (ROOT / "docker" / "STORAGE.md").read_text(), re.MULTILINE)
    return str(rule).replace("PASSWORD", _PASSWORD)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    certificates = issue_certificates(folder)
    (folder / "users.acl").write_text(f"user default on >admin ~* &* +@all\n{the_rule()}\n")
    port = free_port()
    server = redis_server(folder / "server", port, "--aclfile", str(folder / "users.acl"))
    with server, gate_to(port, certificates.tls) as gate:
        address = f"127.0.0.1:{gate.port}"
        url = f"rediss://rise:p%40ss%3Aword%2F@{address}/0?{certificates.options}"
        yield Secured(url, address, port, certificates.authority)


@pytest.fixture
def behind(secured: Secured, tmp_path: Path) -> Iterator[Service]:
    running = start_service(
        tmp_path / "data",
        REDIS_URL=secured.url,
        RISE_WEBHOOK_SECRET="x" * 32,
        RISE_ALLOWED_HOSTS="127.0.0.1",
        RISE_TRUSTED_HOSTS="127.0.0.1:1",
        RISE_CHECKPOINT_SECONDS="0.3",
        RISE_SWEEP_SECONDS="0.5",
    )
    yield running
    stop_service(running)


def test_the_rule_in_the_manual_is_all_that_the_service_needs(behind: Service, secured: Secured, star: bytes) -> None:
    with httpx2.Client(base_url=behind.url, timeout=120) as http:
        told = {"callback": "http://127.0.0.1:1/nobody"}
        body = explain(http, star, headers={**WAIT, "Idempotency-Key": "one"}, masks=256, until=1, **told).json()
        assert body["status"] == "succeeded", body
        assert http.get(body["targets"][0]["links"]["overlay"]).status_code == 200
        assert http.post(f"{body['links']['self']}/metrics", json={"metrics": ["deletion"]}).status_code == 200
        assert http.post("/v1/models/shapes/predict", files={"image": star}).status_code == 200
        for address in ("/metrics", "/v1/explanations", "/v1/models", "/readyz"):
            assert http.get(address).status_code == 200
        wait_for(http, send(http, packed(*pictures(3))), succeeded=3)
        here = endless(http, star, 1)
        with opened(http, f"{here}/events") as events:
            assert any(event.event == "preview" for event in events)
            http.post(f"{here}/cancel")
            assert [event.event for event in events][-1] == "cancelled"
        assert http.delete(here).status_code == 204
        lost = submit(behind, masks=6000)
        wait_for_masks(lost, 500)
        os.kill(behind.worker_ids()[0], signal.SIGKILL)
        assert ended(lost)["status"] == "succeeded"
        assert make_key(secured).startswith("rise")
    with Redis(port=secured.plain_port, password="admin") as administrator:
        assert administrator.acl_log() == []


def make_key(secured: Secured) -> str:
    command = [str(Path(sys.executable).with_name("rise-serve")), "keys", "add", "somebody"]
    done = subprocess.run(
        command, env={**os.environ, "REDIS_URL": secured.url}, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_the_rule_permits_nothing_else(secured: Secured) -> None:
    with Redis(port=secured.plain_port, username="rise", password=_PASSWORD) as redis:
        for forbidden in (
            ["GET", "other:key"],
            ["SET", "other:key", "1"],
            ["EVAL", "return redis.call('GET', 'other:key')", "0"],
            ["PUBLISH", "other:channel", "1"],
            ["KEYS", "*"],
            ["FLUSHALL"],
            ["CONFIG", "GET", "*"],
            ["ACL", "LIST"],
            ["SORT", "rise:x"],
            ["MONITOR"],
            ["SHUTDOWN"],
            ["FUNCTION", "LIST"],
        ):
            with pytest.raises(ResponseError, match="permission"):
                redis.execute_command(*forbidden)
    with Redis(port=secured.plain_port, password="admin") as administrator:
        administrator.acl_log_reset()


def test_whoever_has_no_certificate_or_trusts_somebody_else_is_not_connected(secured: Secured, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    stranger = secured.url.replace(str(secured.authority), str(tmp_path / "other.pem"))
    without = f"rediss://rise@{secured.address}/0?ssl_ca_certs={secured.authority}"
    misnamed = secured.url.replace("127.0.0.1", "localhost")
    for url in (stranger, without, misnamed):
        with pytest.raises(ConnectionError):
            connect(url).ping()
    assert connect(secured.url).ping()


def test_a_wrong_password_is_said_at_once(secured: Secured) -> None:
    with pytest.raises(ConnectionError, match="invalid username-password pair"):
        connect(secured.url.replace("p%40ss", "wrong")).ping()
