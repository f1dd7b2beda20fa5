"""Where clients see the service: by the operator's word, or by that of a proxy that the operator trusts."""

from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from pydantic import ValidationError

from app.api.middleware.public_address import PublicAddressMiddleware
from app.contract.settings import Settings
from app.explanations.views import explanation_path
from app.main import create_app

FORWARDED = {"X-Forwarded-Prefix": "/rise", "X-Forwarded-Host": "a.example", "X-Forwarded-Proto": "https"}
PROXY, STRANGER = ("10.1.2.3", 1), ("192.0.2.1", 1)


def client(public_url: str = "", trusted_proxies: str = "10.0.0.0/8", *, host: tuple[str, int] = PROXY) -> TestClient:
    """Return a client of an application that says where it is seen."""
    app = FastAPI()
    app.add_middleware(PublicAddressMiddleware, public_url, trusted_proxies)

    @app.get("/seen")
    def seen(request: Request) -> dict[str, Any]:
        return {"url": str(request.url), "link": explanation_path("1")}

    return TestClient(app, base_url="http://service:8000", client=host, follow_redirects=False)


@pytest.mark.parametrize("path", ["/seen", "/rise/seen"], ids=["removed", "kept"])
def test_a_trusted_proxy_says_where_the_service_is_seen(path: str) -> None:
    seen = {"url": "https://a.example/rise/seen", "link": "/rise/v1/explanations/1"}
    assert client().get(path, headers=FORWARDED).json() == seen
    redirected = client().get(f"{path}/", headers=FORWARDED)
    assert (redirected.status_code, redirected.headers["location"]) == (307, "https://a.example/rise/seen")


@pytest.mark.parametrize("trusted", ["", "10.0.0.0/16", "localhost"])
def test_nobody_else_does(trusted: str) -> None:
    seen = {"url": "http://service:8000/seen", "link": "/v1/explanations/1"}
    assert client("", trusted).get("/seen", headers=FORWARDED).json() == seen
    assert client(host=STRANGER).get("/seen", headers=FORWARDED).json() == seen


@pytest.mark.parametrize("path", ["/seen", "/rise/seen"], ids=["removed", "kept"])
@pytest.mark.parametrize("host", [PROXY, STRANGER])
def test_the_operator_says_it_for_everybody(path: str, host: tuple[str, int]) -> None:
    seen = {"url": "https://b.example/rise/seen", "link": "/rise/v1/explanations/1"}
    assert client("https://b.example/rise/", "", host=host).get(path, headers=FORWARDED).json() == seen


@pytest.mark.parametrize("prefix", ["//evil.example", "rise", "/a/../b c", "/ris\u00e9", "/", "https://evil.example"])
@pytest.mark.parametrize("host", ["evil.example/x", "a b", "[", ""])
def test_what_is_no_path_and_no_host_is_ignored(prefix: str, host: str) -> None:
    headers = [(b"X-Forwarded-Prefix", prefix.encode()), (b"X-Forwarded-Host", host.encode())]
    seen = {"url": "http://service:8000/seen", "link": "/v1/explanations/1"}
    assert client().get("/seen", headers=headers).json() == seen


def test_a_path_that_only_begins_like_the_public_one_is_another() -> None:
    assert client("https://b.example/rise").get("/risen/seen").status_code == 404


def test_problems_and_the_document_name_the_path_that_clients_see(valkey: str, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, redis_url=valkey, public_url="https://b.example/rise")
    with TestClient(create_app(settings)) as http:
        assert http.get("/rise/v1/explanations/none").json()["instance"] == "/rise/v1/explanations/none"
        assert http.get("/openapi.json").json()["servers"] == [{"url": "/rise"}]
        assert 'src="docs/' in http.get("/rise/docs").text


@pytest.mark.parametrize("wrong", ["localhost", "10.0.0.1/8", "10.0.0.0/8 192.0.2.1", "*, 10.0.0.1"])
def test_what_is_no_address_of_a_proxy_is_refused_at_the_start(wrong: str) -> None:
    with pytest.raises(ValidationError, match="trusted_proxies"):
        Settings(trusted_proxies=wrong)


def test_proxies_are_addresses_and_networks() -> None:
    assert Settings(trusted_proxies="127.0.0.1, fd00::/8,10.0.0.0/8").trusted_proxies


@pytest.mark.parametrize("wrong", ["b.example/rise", "ftp://b.example", "https://b.example/rise?x=1"])
def test_what_is_no_address_is_refused_at_the_start(wrong: str) -> None:
    with pytest.raises(ValidationError, match="public_url"):
        Settings(public_url=wrong)
