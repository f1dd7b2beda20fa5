"""A real Label Studio with the ML backend: projects, tasks, predictions, rectangles, all through its own API."""

import asyncio
import base64
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.integrations.label_studio.api_client import LabelStudioClient
from rise_client import Client
from tests.app.integrations.test_label_studio import (
    STAR,
    TRIANGLE,
    mask_of,
    regions,
    share_on,
    wait_until_all_models_are_ready,
)
from tests.conftest import SAMPLES, Service, start_service, stop_service
from tests.support.api_keys import new_key
from tests.support.environments import environment
from tests.support.fake_label_studio import PLAIN, WITH_OVERLAY
from tests.support.label_studio_server import TOKEN, LabelStudio, label_studio

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]  # because the first run installs the server

HERE = "/integrations/label-studio"


@dataclass(frozen=True)
class World:
    """Label Studio, and a service that is its ML backend."""

    studio: LabelStudio
    service: Service

    def backend(self, model: str) -> str:
        return f"{self.service.url}{HERE}/{model}"


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelStudio]:
    with label_studio(tmp_path_factory.mktemp("label-studio")) as found:
        yield found


def settings(studio: LabelStudio, **more: str) -> dict[str, str]:
    return {"RISE_LABEL_STUDIO_URL": studio.url, "RISE_LABEL_STUDIO_API_KEY": TOKEN, **more}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, studio: LabelStudio) -> Iterator[World]:
    service = start_service(tmp_path_factory.mktemp("backend") / "data", **settings(studio))
    wait_until_all_models_are_ready(service.url)
    yield World(studio, service)
    stop_service(service)


def a_project(studio: LabelStudio, name: str, config: str = PLAIN) -> tuple[int, int]:
    """Make a project with one task, of a sample picture; return their ids."""
    project = studio.project(PLAIN)
    address = studio.upload(project, SAMPLES / name)
    if config != PLAIN:
        studio.ask("PATCH", f"/api/projects/{project}", json={"label_config": config})
    data = {"image": address} if config == PLAIN else {"image": address, "overlay": address}
    return project, studio.task(project, **data)


def said_by_sdk(config: str, predictions: list[Any]) -> Any:
    """Return what Label Studio's SDK says of predictions and of the masks in them."""
    masks = [region for prediction in predictions for region in regions(prediction, "brushlabels")]
    codes = [[mask["value"]["rle"], mask["original_height"], mask["original_width"]] for mask in masks]
    program = Path(__file__).resolve().parents[2] / "support" / "label_studio_sdk_script.py"
    done = subprocess.run(
        [str(environment("label-studio") / "bin" / "python"), str(program)],
        input=json.dumps({"config": config, "predictions": predictions, "codes": codes}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_task_of_a_connected_project_shows_the_class_and_where_the_model_looked(world: World) -> None:
    project, task = a_project(world.studio, "star.jpg")
    world.studio.connect(project, world.backend("shapes"))
    world.studio.retrieve(project)
    (prediction,) = world.studio.predictions(task)
    assert prediction["model_version"].startswith("shapes-")
    assert regions(prediction, "choices")[0]["value"]["choices"] == ["Star"]
    large, small = regions(prediction, "brushlabels")
    assert share_on(mask_of(small), STAR) > 0.9
    world.studio.retrieve(project)
    assert len(world.studio.predictions(task)) == 1
    found = said_by_sdk(PLAIN, [{"result": prediction["result"], "score": prediction["score"]}])
    assert found["errors"] == [[]]
    row, column, area = found["insides"][1]
    assert (column - STAR[0][0]) ** 2 + (row - STAR[0][1]) ** 2 < (STAR[1] / 2) ** 2
    assert area == mask_of(small).sum() < mask_of(large).sum()


def test_a_batch_is_imported_with_its_labelling_interface_and_its_predictions(world: World, tmp_path: Path) -> None:
    with Client(world.service.url) as client:
        batch = client.batch([SAMPLES / "star.jpg", SAMPLES / "ring.jpg"], model="shapes", masks=1000).wait(100)
        config = batch.download(tmp_path / "config.xml", "label-config").read_text()
        found = json.loads(batch.download(tmp_path / "tasks.json", "label-studio", prefix="/data/").read_text())
    project = world.studio.project(config)
    imported = world.studio.ask("POST", f"/api/projects/{project}/import?return_task_ids=true", json=found)
    assert (imported["task_count"], imported["prediction_count"]) == (2, 2)
    (prediction,) = world.studio.predictions(imported["task_ids"][0])
    assert prediction["model_version"].startswith("shapes-")
    assert regions(prediction, "choices")[0]["value"]["choices"] == ["star"]
    assert share_on(mask_of(regions(prediction, "brushlabels")[1]), STAR) > 0.9


def test_a_detector_shows_boxes_and_the_overlay_and_answers_a_rectangle(world: World) -> None:
    project, task = a_project(world.studio, "several.jpg", WITH_OVERLAY)
    backend = world.studio.connect(project, world.backend("shapes-detector"))
    world.studio.retrieve(project)
    (prediction,) = world.studio.predictions(task)
    assert {box["value"]["rectanglelabels"][0] for box in regions(prediction, "rectanglelabels")} == {
        "Star",
        "Triangle",
    }
    assert said_by_sdk(WITH_OVERLAY, [prediction])["errors"] == [[]]
    drawn = {"x": 16, "y": 63, "width": 22, "height": 30, "rotation": 0, "rectanglelabels": ["Triangle"]}
    context = {"result": [{"id": "drawn", "type": "rectanglelabels", "value": drawn}]}
    path = f"/api/ml/{backend}/interactive-annotating"
    answer = world.studio.ask("POST", path, json={"task": task, "context": context})["data"]
    assert share_on(mask_of(regions(answer, "brushlabels")[1]), TRIANGLE) > 0.8

    def shown() -> str:
        address = str(world.studio.ask("GET", f"/api/tasks/{task}")["data"]["overlay"])
        return address if address.startswith("data:") else ""

    assert base64.b64decode(world.studio.wait_for(shown).partition(",")[2]).startswith(b"\xff\xd8\xff")
    assert len(world.studio.predictions(task)) == 1


def test_what_is_not_finished_in_time_appears_later_by_itself(
    studio: LabelStudio, tmp_path_factory: pytest.TempPathFactory
) -> None:
    more = {"RISE_MAX_WAIT_SECONDS": "0", "RISE_KEYS": "on", "RISE_LABEL_STUDIO_TENANTS": "annotators"}
    service = start_service(tmp_path_factory.mktemp("hurried") / "data", **settings(studio, **more))
    secret = new_key(service, "label studio", "--tenant", "annotators")
    wait_until_all_models_are_ready(service.url, secret)
    project, task = a_project(studio, "ring.jpg")
    url = f"{service.url}{HERE}/shapes"
    refused = studio.http.post("/api/ml", json={"project": project, "url": url, "title": "rise"})
    assert "authentication" in refused.text
    login = {"auth_method": "BASIC_AUTH", "basic_auth_user": "rise", "basic_auth_pass": secret}
    studio.connect(project, url, **login)
    studio.retrieve(project)
    log = service.data.parent / f"{service.data.name}.log"
    assert f"POST {HERE}/shapes/predict 503" in log.read_text()
    (prediction,) = studio.wait_for(lambda: studio.predictions(task))
    assert regions(prediction, "choices")[0]["value"]["choices"] == ["Ring"]
    assert said_by_sdk(PLAIN, [prediction])["errors"] == [[]]
    stop_service(service)


def test_a_project_without_a_control_for_it_cannot_be_connected(world: World) -> None:
    project = world.studio.project('<View><Text name="t" value="$t"/><TextArea name="a" toName="t"/></View>')
    refused = {"project": project, "url": world.backend("shapes"), "title": "rise"}
    answer = world.studio.http.post("/api/ml", json=refused)
    assert answer.status_code == 400
    assert "422" in answer.text


def test_a_personal_access_token_serves_as_well(studio: LabelStudio) -> None:
    personal = studio.ask("POST", "/api/token/")["token"]
    project, task = a_project(studio, "star.jpg")
    assert personal.count(".") == 2

    async def run() -> tuple[bool, bytes | str | None]:
        found = LabelStudioClient(httpx2.URL(studio.url), personal, max_bytes=1_000_000, seconds=30)
        there = await found.has_prediction(task, "any")
        address = studio.ask("GET", f"/api/tasks/{task}")["data"]["image"]
        return there, await found.fetch_image(address)

    assert asyncio.run(run()) == (False, (SAMPLES / "star.jpg").read_bytes())
    assert project
