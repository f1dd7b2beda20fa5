"""Two tenants of one service: over every route there is, what belongs to one does not exist for the other."""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from fastapi.routing import RouteContext, iter_route_contexts

from app.contract.settings import Settings
from app.main import create_app
from tests.app.batches.test_zip_reader import packed
from tests.conftest import SAMPLES, Service, start_service, stop_service
from tests.support.api_keys import client
from tests.support.hostile_images import encoded, picture

QUICK = {"model": "shapes", "masks": "64", "until": "1"}
INVENTED = "0" * 32
OPEN = {"/livez", "/readyz", "/docs", "/docs/start.js", "/docs/{name}", "/openapi.json"}
OPEN |= {"/", "/favicon.ico", "/assets/{digest}/{path:path}", "/ui/embed/{explanation}"}
SHARED = {"/v1/models", "/v1/methods", "/v1/fills", "/v1/models/{model_id}/predict"}
ADMINISTRATIVE = {"/metrics"}
COLLECTIONS = {"/v1/explanations", "/v1/images", "/v1/batches"}
NAMES = {"explanation_id": "explanation", "batch_id": "batch", "image_id": "image"}
OTHERS = {"name": "0.png", "name:path": "star.png", "model_id": "shapes", "number": "0"}


@dataclass(frozen=True)
class Belongings:
    """The ids of what a tenant has."""

    explanation: str
    batch: str
    image: str


@dataclass(frozen=True)
class World:
    """A service with two tenants, of whom one has something."""

    owner: httpx2.Client
    thief: httpx2.Client
    service: Service
    owned: Belongings


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    service = start_service(tmp_path_factory.mktemp("tenants") / "data", RISE_KEYS="on")
    with (
        client(service, "owner", "--tenant", "owner") as owner,
        client(service, "thief", "--tenant", "thief") as thief,
    ):
        yield World(owner, thief, service, owned_by(owner))
    stop_service(service)


def owned_by(owner: httpx2.Client) -> Belongings:
    """Make one of everything and return the ids."""
    image = (SAMPLES / "star.jpg").read_bytes()
    explained = explain(owner, image, {"Prefer": "wait=60"})
    uploaded = owner.post("/v1/images", files={"image": image}).json()["images"][0]
    archive = packed(("ring.jpg", (SAMPLES / "ring.jpg").read_bytes())).getvalue()
    batch = owner.post("/v1/batches", files={"archive": ("a.zip", archive)}, data=QUICK).json()
    return Belongings(explained.json()["id"], batch["id"], uploaded["id"])


def explain(http: httpx2.Client, image: bytes, headers: dict[str, str]) -> httpx2.Response:
    return http.post("/v1/explanations", files={"image": image}, data=QUICK, headers=headers)


def all_routes() -> list[tuple[str, str]]:
    """Return verb and path of every route of the application, also of those that no description lists."""
    found = [pair for route in iter_route_contexts(create_app(Settings()).routes) for pair in verbs_of(route)]
    assert len(found) > 25
    return found


def verbs_of(route: RouteContext) -> list[tuple[str, str]]:
    assert route.path is not None
    return [(verb, route.path) for verb in sorted(route.methods or {"GET"}) if verb != "HEAD"]


def owners_routes() -> list[tuple[str, str]]:
    """Return the routes that name something that belongs to somebody."""
    return [(verb, path) for verb, path in all_routes() if any(f"{{{name}}}" in path for name in NAMES)]


def address(path: str, owned: Belongings) -> str:
    """Return a route's address with these ids; a name that is new here must be given a place above."""
    values = {**OTHERS, **{name: getattr(owned, kind) for name, kind in NAMES.items()}}
    return re.sub(r"\{([^}]+)\}", lambda found: values[found[1]], path)


def seen(http: httpx2.Client, verb: str, path: str, owned: Belongings) -> tuple[int, str, dict[str, str]]:
    """Return status, body and headers of an answer, without the ids that were asked for and what is always another."""
    answer = http.request(verb, address(path, owned), json={} if verb == "POST" else None)
    text = answer.text
    for known in (owned.explanation, owned.batch, owned.image):
        text = text.replace(known, "ID")
    changing = {"date", "x-request-id", "content-length"}
    return answer.status_code, text, {name: value for name, value in answer.headers.items() if name not in changing}


def test_every_route_has_its_place_in_this_file() -> None:
    placed = OPEN | SHARED | ADMINISTRATIVE | COLLECTIONS | {path for _, path in owners_routes()}
    assert {path for _, path in all_routes()} == placed


@pytest.mark.parametrize(("verb", "path"), owners_routes())
def test_what_is_another_tenant_s_is_answered_as_what_nobody_has(world: World, verb: str, path: str) -> None:
    invented = Belongings(INVENTED, INVENTED, INVENTED)
    answers = [seen(world.thief, verb, path, owned) for owned in (world.owned, invented)]
    assert answers[0] == answers[1]
    assert answers[0][0] == 404


@pytest.mark.parametrize(("verb", "path"), [route for route in all_routes() if route[1] not in OPEN])
def test_without_a_key_every_route_tells_nothing(world: World, verb: str, path: str) -> None:
    with httpx2.Client(base_url=world.service.url) as stranger:
        assert stranger.request(verb, address(path, world.owned)).status_code == 401


@pytest.mark.parametrize("path", sorted(COLLECTIONS | SHARED | OPEN | {"/v1/explanations?limit=100&status=succeeded"}))
def test_no_list_and_nothing_that_is_shared_names_what_another_tenant_has(world: World, path: str) -> None:
    text = world.thief.get(path.replace("{model_id}", "shapes")).text
    owned = world.owned
    assert not any(known in text for known in (owned.explanation, owned.batch, owned.image, '"owner"'))


def test_figures_for_operators_name_no_tenant_and_no_explanation(world: World) -> None:
    with client(world.service, "operator", "--scope", "admin") as operator:
        text = operator.get("/metrics").text
    assert "rise_explanations" in text
    assert not any(known in text for known in (world.owned.explanation, world.owned.batch, "owner", "thief"))


def test_an_image_of_another_tenant_cannot_be_named_in_a_request(world: World) -> None:
    for image_id in (world.owned.image, INVENTED):
        named = {"image": {"id": image_id}}
        for path, body in (("/v1/explanations", named | {"model": "shapes"}), ("/v1/models/shapes/predict", named)):
            answer = world.thief.post(path, json=body)
            assert (answer.status_code, answer.json()["code"]) == (422, "unknown-name")
            assert image_id in answer.json()["detail"]
    batch = world.thief.post("/v1/batches", json={"model": "shapes", "images": [{"id": world.owned.image}]}).json()
    for _ in range(200):
        (member,) = world.thief.get(batch["links"]["explanations"]).json()
        if member["status"] != "waiting":
            break
        world.thief.get("/v1/explanations", params={"limit": 1})
    assert member["status"] == "refused"
    assert member["error"]["code"] == "unknown-name"


def test_the_second_tenant_of_a_picture_gets_what_the_first_got_and_a_computation_of_its_own(world: World) -> None:
    image = encoded(picture(), "PNG")
    key = {"Idempotency-Key": "the same for both"}
    first, second = (explain(http, image, key) for http in (world.owner, world.thief))
    assert first.status_code == second.status_code == 202
    ended: list[Any] = [
        http.get(answer.headers["location"], params={"wait": 60}).json()
        for http, answer in ((world.owner, first), (world.thief, second))
    ]
    assert ended[0]["id"] != ended[1]["id"]
    assert ended[0]["finished_at"] <= ended[1]["started_at"]
    assert [body["progress"]["masks"] for body in ended] == [ended[0]["progress"]["masks"]] * 2
    uploads = [http.post("/v1/images", files={"image": image}) for http in (world.owner, world.thief)]
    assert uploads[0].status_code == uploads[1].status_code == 201
    assert uploads[0].json()["images"][0]["id"] != uploads[1].json()["images"][0]["id"]


def test_an_id_of_the_owner_still_works_after_all_that(world: World) -> None:
    """Every route of the owner's things was tried by the thief, those that cancel and delete among them."""
    for verb, path in owners_routes():
        seen(world.thief, verb, path, world.owned)
    owned = world.owned
    body = world.owner.get(f"/v1/explanations/{owned.explanation}").json()
    assert body["status"] == "succeeded"
    assert world.owner.get(f"/v1/images/{owned.image}").status_code == 200
    batch = world.owner.get(f"/v1/batches/{owned.batch}", params={}).json()
    assert batch["status"] in {"running", "finished"}
    assert io.BytesIO(world.owner.get(body["targets"][0]["links"]["npy"]).content).read(6) == b"\x93NUMPY"
