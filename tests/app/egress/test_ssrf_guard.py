import asyncio
import shutil
import ssl
import subprocess
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx2
import pytest

from app.contract.errors import RiseError
from app.egress.allowlist import HostAllowlist, UrlNotAllowed, read_hosts
from app.egress.client import Resolve, SsrfSafeTransport, ssrf_safe_client
from app.egress.public_addresses import is_public
from app.images.fetcher import ImageFetcher
from tests.support.http_receivers import Answer, Receiver, receiver

ANY_HOST = HostAllowlist(allowed=read_hosts("*"))
PUBLIC = "93.184.216.34"

INSIDE = """
127.0.0.1 10.0.0.1 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 255.255.255.255 240.0.0.1
198.18.0.1 192.0.2.1 ::1 :: fe80::1 fe80::1%eth0 fc00::1 fec0::1 ff0e::1 ::ffff:169.254.169.254 ::127.0.0.1
2002:7f00:1::1 64:ff9b::a9fe:a9fe 64:ff9b:1::808:808 2001:db8::1 2001:0:7f00:1::1
"""
SPELLINGS = """
127.0.0.1 127.1 2130706433 0x7f000001 0177.0.0.1 0 [::1] [::ffff:127.0.0.1] [::ffff:169.254.169.254]
169.254.169.254 localhost [64:ff9b::7f00:1]
"""


def always(*addresses: str) -> Resolve:
    async def found(_name: str, _port: int) -> list[str]:
        return list(addresses)

    return found


def fetch(
    address: str,
    hosts: HostAllowlist,
    *,
    resolve: Resolve | None = None,
    max_bytes: int = 1000,
    verify: ssl.SSLContext | bool = True,
) -> bytes:
    async def run() -> bytes:
        async with ssrf_safe_client(hosts, seconds=2, resolve=resolve, verify=verify) as client:
            return await ImageFetcher(client, hosts, max_bytes, 2).fetch(address, field="/image/url")

    return asyncio.run(run())


def trusting(server: Receiver) -> HostAllowlist:
    return HostAllowlist(trusted=read_hosts(server.host))


@pytest.mark.parametrize(
    "address",
    INSIDE.split(),
)
def test_an_inside_or_special_address_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", [PUBLIC, "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]
)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://example.com/a.jpg", "https"),
        ("http://127.1/", "https"),
        ("http://[::ffff:169.254.169.254]/", "https"),
        ("file:///etc/passwd", "https://host/path"),
        ("gopher://example.com/", "https://host/path"),
        ("https://", "https://host/path"),
        ("//example.com/a.jpg", "https://host/path"),
        ("https://user:secret@example.com/", "credentials"),
        ("https://user@example.com/", "credentials"),
        ("https://example.com:8443/", "not allowed"),
        ("https://other.org/", "not allowed"),
        ("https://example.com.evil.org/", "not allowed"),
        ("https://notexample.org/", "not allowed"),
        ("https://example.com@evil.org/", "credentials"),
        ("https://example.com\\@evil.org/", "a"),
        ("https://" + "a" * 3000, "characters"),
    ],
)
def test_an_address_that_the_operator_did_not_mean_is_refused(address: str, words: str) -> None:
    hosts = HostAllowlist(allowed=read_hosts("example.com, *.example.org"))
    with pytest.raises(UrlNotAllowed, match=words):
        hosts.permitted(address)


@pytest.mark.parametrize(
    "address", ["https://example.com/a", "https://EXAMPLE.com:443/", "https://a.b.example.org/?q=1"]
)
def test_an_address_on_an_allowed_host_is_permitted(address: str) -> None:
    HostAllowlist(allowed=read_hosts("example.com *.example.org")).permitted(address)


def test_without_allowed_hosts_nothing_is_asked_and_the_reason_names_the_setting() -> None:
    with pytest.raises(RiseError, match="RISE_ALLOWED_HOSTS") as found:
        fetch("https://example.com/", HostAllowlist())
    assert found.value.code == "url-not-allowed"
    assert found.value.errors[0].field == "/image/url"


@pytest.mark.parametrize("text", ["https://example.com", "exa mple/", "a*b.com", "example.com:port", "*.*"])
def test_a_list_of_hosts_that_means_nothing_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="is not a host"):
        read_hosts(text)


@pytest.mark.parametrize(
    "host",
    SPELLINGS.split(),
)
def test_no_spelling_of_an_inside_address_is_reached_even_where_every_host_is_allowed(host: str) -> None:
    with pytest.raises(RiseError) as found:
        fetch(f"https://{host}/", ANY_HOST)
    assert found.value.code == "url-not-allowed"
    assert "public address" in found.value.detail or "not a URL" in found.value.detail


def test_a_name_with_one_inside_address_among_public_ones_is_refused() -> None:
    with pytest.raises(RiseError, match="public"):
        fetch("https://example.com/", ANY_HOST, resolve=always(PUBLIC, "10.0.0.1"))


def sent_to(resolve: Resolve, address: str, hosts: HostAllowlist = ANY_HOST) -> list[httpx2.Request]:
    """Return what would be connected to: requests as the connecting transport sees them."""
    seen: list[httpx2.Request] = []

    def connect(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200)

    async def run() -> None:
        transport = SsrfSafeTransport(hosts, resolve, httpx2.MockTransport(connect))
        async with httpx2.AsyncClient(transport=transport) as client:
            await client.get(address)

    asyncio.run(run())
    return seen


def changing(*answers: list[str]) -> Callable[[str, int], Awaitable[list[str]]]:
    left = list(answers)

    async def found(_name: str, _port: int) -> list[str]:
        return left.pop(0)

    return found


def test_a_name_that_changes_after_the_check_is_still_reached_at_the_checked_address() -> None:
    (request,) = sent_to(changing([PUBLIC], ["127.0.0.1"]), "https://example.com/a?b=c")
    assert str(request.url) == f"https://{PUBLIC}/a?b=c"
    assert request.headers["host"] == "example.com"
    assert request.extensions["sni_hostname"] == "example.com"


def test_every_request_is_checked_anew() -> None:
    resolve = changing([PUBLIC], ["127.0.0.1"])
    sent_to(resolve, "https://example.com/")
    with pytest.raises(UrlNotAllowed, match="public"):
        sent_to(resolve, "https://example.com/")


def test_an_address_of_the_sixth_version_is_connected_to_by_number() -> None:
    (request,) = sent_to(always("2606:4700::1111"), "https://example.com:443/")
    assert request.url.host == "2606:4700::1111"


def test_the_next_address_is_tried_where_the_first_does_not_answer() -> None:
    with receiver(lambda _: Answer(parts=(b"picture",))) as server:
        hosts = HostAllowlist(trusted=read_hosts(f"some.test:{server.port}"))
        found = fetch(f"http://some.test:{server.port}/", hosts, resolve=always("127.255.255.254", "127.0.0.1"))
    assert found == b"picture"
    assert server.asked[0].headers["host"] == f"some.test:{server.port}"


def test_a_trusted_host_is_reached_over_http_and_no_other_port_of_it_is() -> None:
    with receiver(lambda _: Answer(parts=(b"pic", b"ture"))) as server:
        assert fetch(f"{server.url}/a.jpg", trusting(server)) == b"picture"
        with pytest.raises(RiseError, match="https"):
            fetch(f"http://127.0.0.1:{server.port + 1}/", trusting(server))
    assert [(asked.method, asked.path) for asked in server.asked] == [("GET", "/a.jpg")]


def test_a_redirect_is_not_followed() -> None:
    redirect = Answer(302, headers={"Location": "/secret"})
    with receiver(lambda _: redirect) as server, pytest.raises(RiseError, match="redirects") as found:
        fetch(f"{server.url}/a.jpg", trusting(server))
    assert found.value.code == "image-not-fetched"
    assert [asked.path for asked in server.asked] == ["/a.jpg"]


def test_an_answer_that_is_no_picture_of_allowed_size_is_an_error_in_words() -> None:
    answers = {
        "/missing": Answer(404),
        "/large": Answer(parts=(b"a" * 600, b"b" * 600)),
        "/packed": Answer(parts=(b"x",), headers={"Content-Encoding": "gzip"}),
    }
    with receiver(lambda asked: answers[asked.path]) as server:
        for path, words in (("missing", "404"), ("large", "more than 1000 bytes"), ("packed", "compressed")):
            with pytest.raises(RiseError, match=words):
                fetch(f"{server.url}/{path}", trusting(server))


def test_a_host_that_never_finishes_is_given_up() -> None:
    release = threading.Event()
    with receiver(lambda _: Answer(wait_for=release)) as server:
        with pytest.raises(RiseError, match="within 2 seconds"):
            fetch(server.url, trusting(server))
        release.set()


def test_cookies_of_one_answer_are_not_sent_with_the_next_request() -> None:
    async def run(hosts: HostAllowlist, url: str) -> None:
        async with ssrf_safe_client(hosts, seconds=2) as client:
            for _ in range(2):
                await ImageFetcher(client, hosts, 1000, 2).fetch(url, field="/image/url")

    with receiver(lambda _: Answer(headers={"Set-Cookie": "who=me"})) as server:
        asyncio.run(run(trusting(server), server.url))
    assert len(server.asked) == 2
    assert not any("cookie" in asked.headers for asked in server.asked)


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver(lambda _: Answer(parts=(b"proxy",))) as proxy, receiver(lambda _: Answer(parts=(b"host",))) as server:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        assert fetch(server.url, trusting(server)) == b"host"
    assert proxy.asked == []


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
def test_tls_is_checked_against_the_name_although_the_connection_goes_to_a_number(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=some.test"]
    command += ["-addext", "subjectAltName=DNS:some.test", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    verify = ssl.create_default_context(cafile=str(certificate))
    with receiver(lambda _: Answer(parts=(b"picture",)), tls) as server:
        hosts = HostAllowlist(trusted=read_hosts(f"some.test:{server.port} other.test:{server.port}"))
        here = always("127.0.0.1")
        assert fetch(f"https://some.test:{server.port}/", hosts, resolve=here, verify=verify) == b"picture"
        with pytest.raises(RiseError, match="certificate"):
            fetch(f"https://other.test:{server.port}/", hosts, resolve=here, verify=verify)
