"""A batch as files of other tools, by the client: read by COCO's own tools and by Label Studio's own SDK."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as pycoco
from pycocotools.coco import COCO

from rise_client import Batch, Client, ServiceError
from tests.app.integrations.test_label_studio import STAR, mask_of, regions, share_on
from tests.app.integrations.test_label_studio_server import said_by_sdk
from tests.conftest import SAMPLES, Service

SIZE = (360, 480)


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[Client]:
    with Client(service.url) as client:
        yield client


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Pictures, one in a folder below, one with a space in its name, and one that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "more").mkdir()
    names = {"star.jpg": "star.jpg", "more/the ring.jpg": "ring.jpg", "several.jpg": "several.jpg"}
    for name, sample in names.items():
        (folder / name).write_bytes((SAMPLES / sample).read_bytes())
    (folder / "none.jpg").write_text("no picture")
    return [folder / name for name in (*names, "none.jpg")]


@pytest.fixture(scope="module")
def classified(client: Client, files: list[Path]) -> Batch:
    return client.batch(files, model="shapes", masks=1000).wait(100)


@pytest.fixture(scope="module")
def detected(client: Client, files: list[Path]) -> Batch:
    return client.batch([files[2]], model="shapes-detector", masks=1000, threshold=0.7).wait(100)


def test_the_images_of_a_batch_come_back_in_order_with_explanations_or_problems(
    client: Client, classified: Batch
) -> None:
    members = list(classified.items())
    assert [member.name for member in members] == ["star.jpg", "more/the ring.jpg", "several.jpg", "none.jpg"]
    assert [member.status for member in members] == ["succeeded"] * 3 + ["refused"]
    assert members[3].error is not None
    first = members[0].explanation
    assert first is not None
    assert first.status == "succeeded"
    assert client.explanation(first.id).map.shape == SIZE


def test_a_batch_that_takes_longer_is_not_waited_for_and_can_be_cancelled_and_removed(
    client: Client, files: list[Path]
) -> None:
    endless = client.batch([files[0]], model="shapes", masks=1_000_000, until=1, seed=5)
    with pytest.raises(TimeoutError):
        endless.wait(0.2)
    assert endless.cancel().data.status == "cancelled"
    endless.delete()
    with pytest.raises(ServiceError, match="not-found"):
        endless.refresh()


def test_a_batch_of_nothing_and_an_unknown_file_of_a_batch_are_refused(
    client: Client, classified: Batch, tmp_path: Path
) -> None:
    with pytest.raises(ServiceError, match="unreadable-archive"):
        client.batch([], model="shapes")
    with pytest.raises(ServiceError, match="unknown-name"):
        classified.download(tmp_path / "x", formats="exe")


def test_the_archive_of_a_batch_is_downloaded(classified: Batch, tmp_path: Path) -> None:
    with ZipFile(classified.download(tmp_path / "maps.zip", formats="npz")) as archive:
        assert next(name for name in archive.namelist() if name.endswith(".npz")) == "00000-star/0.npz"


def test_a_target_in_whose_box_nothing_was_found_is_left_out_of_the_archive_with_the_reason(
    client: Client, files: list[Path], tmp_path: Path
) -> None:
    boxes: list[Any] = [{"label": "star", "box": box} for box in ([400, 300, 470, 350], [47, 40, 153, 145])]
    batch = client.batch([files[2]], model="shapes-detector", masks=512, until=1, targets=boxes).wait(60)
    with ZipFile(batch.download(tmp_path / "maps.zip", formats="npz,png")) as archive:
        (row,) = json.loads(archive.read("manifest.json"))["images"]
        assert sorted(archive.namelist()) == sorted([*row["files"], "manifest.json"])
    assert (row["status"], row["error"]) == ("succeeded", None)
    assert row["files"] == ["00000-several/1.npz", "00000-several/1.png"]
    assert row["targets"][0]["error"]["code"] == "no-target"
    assert "in none of the masked images" in row["targets"][0]["error"]["detail"]
    assert row["targets"][1]["error"] is None


def test_the_annotations_of_a_batch_are_those_of_its_maps_and_are_read_by_cocos_own_tools(
    client: Client, classified: Batch, tmp_path: Path
) -> None:
    path = classified.download(tmp_path / "coco.json", "coco", level=0.8)
    data = COCO(str(path))
    assert sorted(data.imgs) == [0, 1, 2]
    assert {row["name"] for row in data.loadCats(data.getCatIds())} >= {"star", "ring"}
    assert [row["file_name"] for row in json.loads(path.read_text())["info"]["left_out"]] == ["none.jpg"]
    for member in list(classified.items())[:3]:
        (annotation,) = data.loadAnns(data.getAnnIds(imgIds=[member.index]))
        assert member.explanation is not None
        inside = data.annToMask(annotation)
        assert np.array_equal(inside > 0, client.explanation(member.explanation.id).region(level=0.8))
        assert annotation["area"] == inside.sum() == pycoco.area(annotation["segmentation"])
        assert annotation["bbox"] == pycoco.toBbox(annotation["segmentation"]).tolist()
        assert annotation["score"] == member.explanation.targets[0].score
    assert share_on(data.annToMask(data.anns[1]) > 0, STAR) > 0.5


def test_the_annotations_of_a_batch_are_results_that_cocos_own_tools_load(detected: Batch, tmp_path: Path) -> None:
    path = detected.download(tmp_path / "coco.json", "coco")
    found = COCO(str(path)).loadRes(json.loads(path.read_text())["annotations"])
    assert len(found.anns) == 2
    for annotation in found.anns.values():
        assert pycoco.decode(annotation["segmentation"]).shape == SIZE
        assert 0.7 <= annotation["score"] <= 1


def test_a_region_of_a_large_image_has_the_size_of_the_image(client: Client, tmp_path: Path) -> None:
    Image.open(SAMPLES / "star.jpg").resize((1920, 1440)).save(tmp_path / "large.jpg")
    batch = client.batch([tmp_path / "large.jpg"], model="shapes", masks=512).wait(60)
    data = COCO(str(batch.download(tmp_path / "coco.json", "coco")))
    (column, row), radius = STAR
    assert share_on(data.annToMask(data.anns[1]) > 0, ((4 * column, 4 * row), 4 * radius)) > 0.8


def table(batch: Batch, folder: Path) -> list[dict[str, str]]:
    with batch.download(folder / "targets.csv", "targets").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_of_a_batch_has_the_evidence_of_each_target(
    classified: Batch, detected: Batch, tmp_path: Path
) -> None:
    *rows, refused = table(classified, tmp_path)
    for row, member in zip(rows, classified.items(), strict=False):
        explanation = member.explanation
        assert explanation is not None
        (target,) = explanation.targets
        evidence = target.evidence
        assert evidence is not None
        assert evidence.least_relevant_first is not None
        assert evidence.fill_score is not None
        figures = {
            "score": target.score,
            "reliability": target.reliability,
            "fidelity": evidence.fidelity,
            "interaction_share": evidence.interaction_share,
            "least_relevant_drop": evidence.least_relevant_first.drop,
            "least_relevant_random": evidence.least_relevant_first.random,
            "fill_score": evidence.fill_score.target,
            "fill_class_probability": evidence.fill_score.probability,
            "consistency": explanation.consistency,
        }
        assert {name: float(row[name]) for name in figures} == pytest.approx(figures, rel=1e-5)
        assert (row["name"], row["explanation"], row["label_name"]) == (member.name, explanation.id, target.name)
        assert row["sentences"] == " ".join(evidence.sentences)
        assert (row["fill_class"], row["error"], row["x0"]) == (evidence.fill_score.top_class, "", "")
    assert (refused["name"], refused["status"], refused["target"]) == ("none.jpg", "refused", "")
    assert "image" in refused["error"]
    boxes = [[float(row[corner]) for corner in ("x0", "y0", "x1", "y1")] for row in table(detected, tmp_path)]
    (member,) = detected.items()
    assert member.explanation is not None
    assert boxes == [pytest.approx(target.box, rel=1e-5) for target in member.explanation.targets]


def test_a_name_that_spreadsheets_would_take_for_a_formula_is_text_in_the_table(client: Client, tmp_path: Path) -> None:
    (tmp_path / "=1+1.jpg").write_text("no picture")
    (row,) = table(client.batch([tmp_path / "=1+1.jpg"], model="shapes").wait(60), tmp_path)
    assert (row["name"], row["status"]) == ("'=1+1.jpg", "refused")


def tasks(batch: Batch, folder: Path, **options: str) -> list[Any]:
    found: list[Any] = json.loads(batch.download(folder / "tasks.json", "label-studio", **options).read_text())
    return found


def test_tasks_for_label_studio_have_an_address_for_each_image_and_masks_on_the_object(
    classified: Batch, tmp_path: Path
) -> None:
    found = tasks(classified, tmp_path, prefix="/data/local-files/?d=")
    assert [task["data"]["image"] for task in found] == [
        "/data/local-files/?d=star.jpg",
        "/data/local-files/?d=more/the%20ring.jpg",
        "/data/local-files/?d=several.jpg",
    ]
    (prediction,) = found[0]["predictions"]
    assert regions(prediction, "choices")[0]["value"] == {"choices": ["star"]}
    large, small = regions(prediction, "brushlabels")
    first = next(classified.items()).explanation
    assert first is not None
    assert first.targets[0].evidence is not None
    assert all(sentence in small["meta"]["text"][0] for sentence in first.targets[0].evidence.sentences)
    assert share_on(mask_of(small), STAR) > 0.9
    assert mask_of(small).sum() < mask_of(large).sum()


def test_an_image_without_anything_is_a_task_that_says_so(client: Client, tmp_path: Path) -> None:
    Image.new("RGB", (64, 48)).save(tmp_path / "blank.png")
    batch = client.batch([tmp_path / "blank.png"], model="shapes-detector", masks=256).wait(60)
    (task,) = tasks(batch, tmp_path)
    assert (task["data"]["image"], task["predictions"][0]["result"]) == ("blank.png", [])
    coco = json.loads(batch.download(tmp_path / "coco.json", "coco").read_text())
    assert (coco["annotations"], coco["info"]["left_out"]) == ([], [])
    assert [image["file_name"] for image in coco["images"]] == ["blank.png"]


def test_maps_of_several_fills_are_left_out_of_what_shows_one_with_the_reason(
    client: Client, files: list[Path], tmp_path: Path
) -> None:
    batch = client.batch([files[0]], model="shapes", method="mc-rise", masks=256, until=1).wait(60)
    coco = json.loads(batch.download(tmp_path / "coco.json", "coco").read_text())
    assert coco["annotations"] == []
    (reason,) = [row["error"] for row in coco["info"]["left_out"]]
    assert (reason["code"], "shows one of them" in reason["detail"]) == ("invalid-parameters", True)
    (task,) = tasks(batch, tmp_path)
    assert task["predictions"] == []
    assert "shows one of them" in task["data"]["error"]


def test_label_studios_sdk_accepts_every_prediction_with_the_labelling_interface_of_the_batch(
    classified: Batch, detected: Batch, tmp_path: Path
) -> None:
    for batch, controls in ((classified, ("Choices", "BrushLabels")), (detected, ("RectangleLabels", "BrushLabels"))):
        config = batch.download(tmp_path / "config.xml", "label-config").read_text()
        assert all(f"<{control} " in config for control in controls)
        predictions = [prediction for task in tasks(batch, tmp_path) for prediction in task["predictions"]]
        found = said_by_sdk(config, predictions)
        assert found["errors"] == [[]] * len(predictions)
        masks = [mask_of(one) for prediction in predictions for one in regions(prediction, "brushlabels")]
        assert [area for _, _, area in found["insides"]] == [mask.sum() for mask in masks]
