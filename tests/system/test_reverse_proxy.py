"""Behind nginx at a sub-path: every link leads on, whether nginx says the path or the operator does."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urljoin

import httpx2
import pytest
from playwright.sync_api import Page, expect

from rise_client import Client
from tests.conftest import SAMPLES, start_service, stop_service, wait_for_models
from tests.support.browser import browser, page
from tests.support.replicas import free_ports, process, wait_for_port

__all__ = ["browser", "page"]

pytestmark = pytest.mark.slow

NGINX = """
user root;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
worker_processes 1;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  client_max_body_size 50m;
  proxy_http_version 1.1;
  proxy_buffering off;
  proxy_read_timeout 120s;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  server {{
    listen 127.0.0.1:{port};
    location /removed/ {{ proxy_set_header X-Forwarded-Prefix /removed; {forwarded} proxy_pass {trusting}/; }}
    location /kept/ {{ proxy_set_header X-Forwarded-Prefix /kept; {forwarded} proxy_pass {trusting}; }}
    location /rise/ {{ proxy_pass {told}/; }}
  }}
  server {{
    listen 127.0.0.1:{other_port};
    location /rise/ {{ proxy_pass {told}; }}
  }}
}}
"""
FORWARDED = "proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Forwarded-Proto $scheme;"
PLACES = ["removed by a trusted proxy", "kept by a trusted proxy", "removed, told by the operator", "kept, told"]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The addresses at which nginx shows a service: one front end trusts it, one is told its path."""
    folder: Path = tmp_path_factory.mktemp("proxied")
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if nginx is None:
        pytest.skip("there is no nginx: apt-get install nginx")
    port, other_port, told = free_ports(3)
    service = start_service(folder / "data", RISE_TRUSTED_PROXIES="127.0.0.1")
    redis_url = (service.data / "redis.url").read_text()
    environment = {"REDIS_URL": redis_url, "RISE_DATA": str(service.data), "RISE_PORT": str(told)}
    environment |= {"RISE_PUBLIC_URL": f"http://127.0.0.1:{port}/rise"}
    ports = {"port": port, "other_port": other_port, "told": f"http://127.0.0.1:{told}"}
    configuration = folder / "nginx.conf"
    configuration.write_text(NGINX.format(folder=folder, trusting=service.url, forwarded=FORWARDED, **ports))
    with ExitStack() as stack:
        stack.callback(stop_service, service)
        command = str(Path(sys.executable).with_name("rise-serve"))
        stack.enter_context(process([command, "api"], folder / "api.log", **environment))
        stack.enter_context(process([nginx, "-c", str(configuration)], folder / "nginx.out"))
        for each in (port, other_port, told):
            wait_for_port(each)
        wait_for_models(service)
        first, other = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{other_port}"
        yield dict(zip(PLACES, [f"{first}/removed", f"{first}/kept", f"{first}/rise", f"{other}/rise"], strict=True))


def answered(at: str, link: str) -> httpx2.Response:
    """Return the answer at a link that stood in an answer."""
    answer = httpx2.get(urljoin(at, link), timeout=60)
    assert answer.is_success, (link, answer.text)
    return answer


@pytest.mark.parametrize("place", PLACES)
def test_every_link_leads_on(places: dict[str, str], place: str, star: bytes) -> None:
    at = places[place]
    options = {"files": {"image": star}, "data": {"model": "shapes", "masks": "128"}, "headers": {"Prefer": "wait=60"}}
    created = httpx2.post(f"{at}/v1/explanations", timeout=120, **options)  # type: ignore[arg-type]
    explanation = answered(at, created.headers["location"]).json()
    for link in [*explanation["links"].values(), *explanation["targets"][0]["links"].values()]:
        answered(at, link)
    assert explanation == answered(at, explanation["links"]["self"]).json()
    events = answered(at, explanation["links"]["events"]).text
    assert f'"{httpx2.URL(at).path}/v1/explanations/{explanation["id"]}/maps/0.npy"' in events
    httpx2.post(f"{at}/v1/explanations", timeout=120, **{**options, "data": {"model": "shapes", "masks": "256"}})  # type: ignore[arg-type]
    listed = answered(at, f"{at}/v1/explanations?limit=1")
    assert answered(at, listed.links["next"]["url"]).json()
    image = httpx2.post(f"{at}/v1/images", files={"image": star}, timeout=60).json()["images"][0]
    answered(at, image["links"]["self"])


@pytest.mark.parametrize("place", PLACES)
def test_what_is_asked_with_a_slash_too_many_leads_to_what_is_there(places: dict[str, str], place: str) -> None:
    moved = httpx2.get(f"{places[place]}/v1/models/", follow_redirects=False, timeout=60)
    port = places[PLACES[0]] if place == PLACES[3] else places[place]  # the operator names one address for all
    assert moved.headers["location"] == f"{port.rpartition('/')[0]}{httpx2.URL(places[place]).path}/v1/models"


@pytest.mark.parametrize("place", PLACES)
def test_the_client_works_there(places: dict[str, str], place: str, star: bytes, tmp_path: Path) -> None:
    with Client(places[place]) as client:
        explanation = client.explain(star, model="shapes", masks=128).wait()
        assert explanation.map.shape == (360, 480)
        batch = client.batch([SAMPLES / "star.jpg"], model="shapes", masks=128).wait()
        assert [item.status for item in batch.items()] == ["succeeded"]
        batch.download(tmp_path / "maps.zip")


@pytest.mark.parametrize("place", PLACES)
def test_the_documentation_tries_operations_there(page: Page, places: dict[str, str], place: str) -> None:
    page.goto(f"{places[place]}/docs")
    page.locator("#operations-catalogue-listFills button.opblock-summary-control").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table tbody .response-col_status").first).to_contain_text("200")
    expect(page.locator(".request-url pre")).to_have_text(f"{places[place]}/v1/fills")


@pytest.mark.parametrize("place", PLACES)
def test_the_page_works_there(page: Page, places: dict[str, str], place: str) -> None:
    answers: dict[str, int] = {}
    page.on("response", lambda answer: answers.update({answer.url: answer.status}))
    page.goto(f"{places[place]}/")
    expect(page.locator("pane-grid canvas").first).to_be_visible(timeout=60_000)  # a sample, explained already
    page.wait_for_load_state("networkidle")
    assert all(url.startswith((f"{places[place]}/", "blob:", "data:")) for url in answers), answers
    assert max(answers.values()) < 400, answers
    assert f"{places[place]}/v1/models" in answers
