"""The images of tasks: from Label Studio with the operator's token, from others without it, from the inside never."""

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import httpx2
import pytest

from app.contract.errors import RiseError
from app.egress.allowlist import HostAllowlist, UrlNotAllowed, read_hosts
from app.egress.client import ssrf_safe_client
from app.images.fetcher import ImageFetcher
from app.integrations.label_studio.api_client import LabelStudioClient, LabelStudioHttpError
from app.integrations.label_studio.task_images import LabelStudioFile, TaskImages, locate
from tests.support.http_receivers import Answer, Asked, Receiver, receiver

TOKEN = "a-token-that-must-not-leave"
BASE = httpx2.URL("https://studio.example.com")
SUBPATH = httpx2.URL("https://example.com/studio")
PICTURE = b"the bytes of a picture"


@pytest.mark.parametrize(
    ("address", "paths"),
    [
        ("/data/upload/3/a.jpg", ["/data/upload/3/a.jpg", "/storage-data/uploaded/?filepath=upload/3/a.jpg"]),
        ("/data/local-files/?d=a/b%20c.jpg", ["/data/local-files/?d=a/b%20c.jpg"]),
        ("https://studio.example.com:443/tasks/7/resolve/?fileuri=eA==", ["/tasks/7/resolve/?fileuri=eA=="]),
        ("HTTPS://STUDIO.example.com/data/upload/a.jpg?x=1", ["/data/upload/a.jpg?x=1"]),
        ("s3://bucket/a b.jpg", ["/tasks/7/presign/?fileuri=czM6Ly9idWNrZXQvYSBiLmpwZw=="]),
        ("gs://bucket/a.jpg", ["/tasks/7/presign/?fileuri=Z3M6Ly9idWNrZXQvYS5qcGc="]),
    ],
)
def test_files_of_label_studio_are_known_by_their_addresses(address: str, paths: list[str]) -> None:
    assert locate(address, 7, BASE) == LabelStudioFile(tuple(paths))


@pytest.mark.parametrize("address", ["/studio/data/local-files/?d=a", "/data/local-files/?d=a"])
def test_a_label_studio_below_a_path_is_asked_below_it_once(address: str) -> None:
    assert locate(address, 7, SUBPATH) == LabelStudioFile(("/data/local-files/?d=a",))


@pytest.mark.parametrize(
    "address",
    [
        "/api/users/",
        "/data/upload/../../api/users/",
        "/data/upload/%2e%2e/%2e%2e/api/users",
        "/data/upload/..%2f..%2fapi",
        "/data/upload/a\\..\\b",
        "https://studio.example.com/api/projects/1/export",
        "https://studio.example.com@evil.example/data/upload/a.jpg",
        "https://user:word@studio.example.com/data/upload/a.jpg",
        "//studio.example.com/data/upload/a.jpg",
        "/user/logout?x=/data/upload/",
        "/tasks/7x/resolve/?fileuri=eA==",
        "file:///etc/passwd",
        "ftp://studio.example.com/data/upload/a.jpg",
        "gopher://127.0.0.1:6379/_FLUSHALL",
        "data:image/png;base64,!!!",
        "data:text/html;base64,eA==",
        "javascript:alert(1)",
        "star.jpg",
        "",
        None,
        7,
        ["/data/upload/a.jpg"],
    ],
)
def test_what_is_no_address_of_an_image_is_refused(address: object) -> None:
    with pytest.raises(UrlNotAllowed):
        locate(address, 7, BASE)


@pytest.mark.parametrize(
    "address",
    [
        "http://studio.example.com/data/upload/a.jpg",
        "https://studio.example.com:8443/data/upload/a.jpg",
        "https://studio.example.com.evil.example/data/upload/a.jpg",
        "https://example.com/data/upload/a.jpg",
    ],
)
def test_another_scheme_port_or_name_is_another_host(address: str) -> None:
    assert not isinstance(locate(address, 7, BASE), LabelStudioFile)


@dataclass
class World:
    """A Label Studio, another host, and what each says to a path (a picture to every other)."""

    studio: Receiver
    other: Receiver
    answers: dict[str, Answer] = field(default_factory=dict)

    def fetch(self, address: object, *, allowed: str = "", token: str = TOKEN) -> bytes:
        async def run() -> bytes:
            async with images(self, allowed, token) as found:
                return await found.fetch(address, 7, field="/tasks/0/data/image")

        return asyncio.run(run())


@asynccontextmanager
async def images(world: World, allowed: str, token: str) -> AsyncIterator[TaskImages]:
    hosts = HostAllowlist(trusted=read_hosts(allowed))
    studio = LabelStudioClient(httpx2.URL(world.studio.url), token, max_bytes=1000, seconds=5)
    async with ssrf_safe_client(hosts, seconds=5) as client:
        yield TaskImages(studio, ImageFetcher(client, hosts, 1000, 5))
    await studio.close()


@contextmanager
def a_world() -> Iterator[World]:
    answers: dict[str, Answer] = {}

    def answer(asked: Asked) -> Answer:
        return answers.get(asked.path, Answer(parts=(PICTURE,)))

    with receiver(answer) as studio, receiver(answer) as other:
        yield World(studio, other, answers)


@pytest.fixture
def world() -> Iterator[World]:
    with a_world() as found:
        yield found


def test_label_studio_is_asked_with_the_token(world: World) -> None:
    assert world.fetch("/data/upload/1/a.jpg") == PICTURE
    assert world.fetch(f"{world.studio.url}/data/local-files/?d=a") == PICTURE
    assert [asked.headers["authorization"] for asked in world.studio.asked] == [f"Token {TOKEN}"] * 2


def test_an_upload_that_is_kept_in_a_cloud_is_found_there(world: World) -> None:
    world.answers["/data/upload/1/a.jpg"] = Answer(404)
    assert world.fetch("/data/upload/1/a.jpg") == PICTURE
    assert world.studio.asked[1].path == "/storage-data/uploaded/?filepath=upload/1/a.jpg"


def test_another_host_is_asked_without_the_token(world: World) -> None:
    assert world.fetch(f"{world.other.url}/data/upload/1/a.jpg", allowed=world.other.host) == PICTURE
    assert_nothing_left(world)


def test_a_redirect_to_a_cloud_is_followed_without_the_token(world: World) -> None:
    path = f"/tasks/7/presign/?fileuri={base64.urlsafe_b64encode(b's3://bucket/a.jpg').decode()}"
    world.answers[path] = Answer(303, headers={"Location": f"{world.other.url}/signed?key=1"})
    assert world.fetch("s3://bucket/a.jpg", allowed=world.other.host) == PICTURE
    assert world.other.asked[0].path == "/signed?key=1"
    assert_nothing_left(world)


def test_a_redirect_to_a_host_that_is_not_allowed_is_not_followed(world: World) -> None:
    world.answers["/data/local-files/?d=a"] = Answer(302, headers={"Location": f"{world.other.url}/a"})
    with pytest.raises(RiseError) as found:
        world.fetch("/data/local-files/?d=a")
    assert found.value.code == "url-not-allowed"
    assert world.other.asked == []


@pytest.mark.parametrize("target", ["/user/login/", "/api/users/", "ftp://127.0.0.1/a", "data:image/png;base64,eA=="])
def test_a_redirect_within_label_studio_or_to_nowhere_is_the_end(world: World, target: str) -> None:
    world.answers["/data/local-files/?d=a"] = Answer(302, headers={"Location": target})
    with pytest.raises(RiseError) as found:
        world.fetch("/data/local-files/?d=a")
    assert found.value.code in {"image-not-fetched", "url-not-allowed"}
    assert len(world.studio.asked) == 1


@pytest.mark.parametrize("path", ["/data/upload/1/a.jpg", "/", "/api/users"])
def test_an_inside_address_that_is_not_label_studio_is_refused(world: World, path: str) -> None:
    for host in (f"http://127.0.0.1:{world.other.port}", f"https://localhost:{world.other.port}", "http://169.254.1.1"):
        with pytest.raises(RiseError) as found:
            world.fetch(f"{host}{path}", allowed="example.com")
        assert found.value.code == "url-not-allowed"
    assert world.other.asked == []


def test_an_image_that_is_too_large_is_refused_before_it_is_read(world: World) -> None:
    world.answers["/data/local-files/?d=a"] = Answer(parts=(b"x" * 2000,))
    with pytest.raises(RiseError, match="more than 1000 bytes"):
        world.fetch("/data/local-files/?d=a")


def test_an_image_may_stand_in_the_task_itself(world: World) -> None:
    assert world.fetch(f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}") == PICTURE


def test_a_personal_token_is_exchanged_once_for_one_that_is_sent(world: World) -> None:
    personal = "aaaa.bbbb.cccc"
    world.answers["/api/token/refresh/"] = Answer(parts=(json.dumps({"access": "short-lived"}).encode(),))

    async def run() -> None:
        async with images(world, "", personal) as found:
            for _ in range(3):
                await found.fetch("/data/local-files/?d=a", 7, field="")

    asyncio.run(run())
    exchange, *fetched = world.studio.asked
    assert json.loads(exchange.body) == {"refresh": personal}
    assert "authorization" not in exchange.headers
    assert [asked.headers["authorization"] for asked in fetched] == ["Bearer short-lived"] * 3


def test_a_personal_token_that_is_not_taken_is_said_to_be_the_trouble(world: World) -> None:
    world.answers["/api/token/refresh/"] = Answer(401)
    with pytest.raises(RiseError, match="RISE_LABEL_STUDIO_API_KEY") as found:
        world.fetch("/data/local-files/?d=a", token="a.b.c")
    assert "a.b.c" not in found.value.detail


def test_what_is_no_label_studio_is_said_to_be_none(world: World) -> None:
    studio = LabelStudioClient(httpx2.URL(world.studio.url), TOKEN, max_bytes=1000, seconds=5)
    with pytest.raises(LabelStudioHttpError, match="RISE_LABEL_STUDIO_URL"):
        asyncio.run(studio.has_prediction(1, "v"))


def assert_nothing_left(world: World) -> None:
    assert world.other.asked
    for asked in world.other.asked:
        everything = f"{asked.path} {asked.headers} {asked.body!r}"
        assert TOKEN not in everything
        assert not re.search("authorization|cookie", everything, re.IGNORECASE)
