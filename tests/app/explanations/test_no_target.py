"""A box in which nothing was ever found: it has no map anywhere, and the other targets keep theirs."""

import io
import json
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from app.cli.explain_backends import explain_in_process, explain_on_server
from app.contract.schemas import ExplanationRecord
from app.contract.settings import Settings
from app.contract.storage.object_store import BlobStore
from app.integrations.kserve.response import ResponseOptions, build_response
from app.label_studio_format.predictions import overlays_of
from app.rendering.renderer import Renderer
from rise_client import Client
from tests.conftest import SAMPLES, Service
from tests.support.api_requests import explain
from workers.blackbox.device import choose_device
from workers.execution.local_run import explain_locally
from workers.registry.model_registry import ModelRegistry

PICTURE = SAMPLES / "several.jpg"
NOWHERE, THERE = ({"box": box, "label": "star"} for box in ([400, 300, 470, 350], [47, 40, 153, 145]))
FIELDS: dict[str, Any] = {"model": "shapes-detector", "masks": 512, "until": 1, "targets": [NOWHERE, THERE]}


def test_a_coco_file_of_a_batch_keeps_what_comes_after_it(service: Service, tmp_path: Path) -> None:
    with Client(service.url) as client:
        batch = client.batch([PICTURE], **FIELDS).wait(60)
        content = json.loads(batch.download(tmp_path / "coco.json", "coco").read_text())
    assert [annotation["target"] for annotation in content["annotations"]] == [1]
    assert content["info"]["left_out"] == []


@pytest.mark.slow
def test_the_command_line_writes_the_other_maps(service: Service) -> None:
    for answer in (explain_in_process(PICTURE, FIELDS), explain_on_server(service.url, None, PICTURE, FIELDS)):
        assert [target.error is None for target in answer.targets] == [False, True]
        assert np.load(io.BytesIO(answer.map_as(1, "npz")))["map"].any()
        with pytest.raises(KeyError):
            answer.map_as(0, "npz")


def test_kserve_and_label_studio_show_the_other_maps(tmp_path: Path) -> None:
    collection = ModelRegistry(Settings().models, choose_device("cpu"))
    collection.load_all()
    record: ExplanationRecord = explain_locally(
        collection.get("shapes-detector"), PICTURE.read_bytes(), FIELDS, tmp_path, print
    )
    renderer = Renderer(BlobStore(tmp_path.as_uri()))
    (explained,) = build_response([record], renderer, ResponseOptions()).explanations
    assert [target.map is None for target in explained.targets] == [True, False]
    assert overlays_of(record, renderer).startswith("data:image/jpeg")


def test_events_name_no_addresses_that_answer_nothing(http: httpx2.Client, star: bytes) -> None:
    body = explain(http, star, method="mc-rise", masks=512, until=1, seed=831).json()
    told = [
        json.loads(line[6:]) for line in http.get(body["links"]["events"]).text.splitlines() if line[:6] == "data: "
    ]
    links = [target["links"] for event in told for target in event["targets"]]
    assert links
    assert all(link == body["targets"][0]["links"] for link in links)
