"""`rise-serve survey` against a real service."""

import json
from pathlib import Path

from typer.testing import CliRunner

from app.cli.main import cli
from rise_client import Client
from tests.conftest import Service
from tests.support.annotated_pictures import coco_of, draw_pictures, encoded, files_of

QUICK = ("--set", "masks=128", "--set", "until=1")


def a_folder(place: Path) -> Path:
    """Write a folder of annotated pictures, six of them stars with the mark."""
    pictures = draw_pictures(marked=6, unmarked=0, others=2, seed=2)
    for name, content in files_of(pictures):
        file = place / "images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    data = coco_of(pictures)
    data["annotations"].append({"id": 99, "image_id": 99, "category_id": 1, "bbox": [0, 0, 1, 1]})
    (place / "coco.json").write_bytes(encoded(data))
    return place


def test_a_folder_becomes_a_report_and_again_the_same_one(service: Service, tmp_path: Path) -> None:
    place, out = a_folder(tmp_path), tmp_path / "report"
    command = ["survey", str(place / "images"), "--annotations", str(place / "coco.json"), "--model", "clever-hans"]
    command += ["--out", str(out), "--server", service.url, *QUICK]
    first = CliRunner().invoke(cli, command)
    assert first.exit_code == 0, first.output
    assert "star" in first.output
    assert "/annotations/annotations/8/image_id: there is no usable image of this id" in first.stderr
    report = json.loads((out / "report.json").read_text())
    assert report["images"] == 8
    assert (out / "report.html").read_text().startswith("<!doctype html>")
    assert len((out / "report.csv").read_text().splitlines()) == 9
    again = CliRunner().invoke(cli, command)
    assert again.exit_code == 0
    assert json.loads((out / "report.json").read_text())["links"] == report["links"]


def test_objects_that_are_too_many_to_be_explained_are_counted(service: Service, tmp_path: Path) -> None:
    place = a_folder(tmp_path)
    crowd = [{"id": number, "image_id": 0, "category_id": 1, "bbox": [0, 0, 9, 9]} for number in range(25)]
    data = json.loads((place / "coco.json").read_text()) | {"annotations": crowd}
    (place / "coco.json").write_bytes(encoded(data))
    command = ["survey", str(place / "images"), "--annotations", str(place / "coco.json"), "--model", "shapes-detector"]
    found = CliRunner().invoke(cli, [*command, "--out", str(tmp_path / "report"), "--server", service.url, *QUICK])
    assert found.exit_code == 0, found.output
    assert "beyond the 20 targets of an image, not explained: 5\n" in found.stderr


def test_a_folder_without_images_and_a_service_that_is_not_there_are_said(service: Service, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "coco.json").write_text("{}")
    command = ["survey", str(tmp_path / "empty"), "--annotations", str(tmp_path / "coco.json"), "--model", "shapes"]
    assert "no images" in CliRunner().invoke(cli, command).stderr
    (tmp_path / "empty" / "a.png").write_bytes(b"x")
    refused = CliRunner().invoke(cli, [*command, "--server", service.url])
    assert refused.exit_code == 2
    assert "COCO annotations are an object" in refused.stderr


def test_the_client_returns_the_report_as_values(service: Service, tmp_path: Path) -> None:
    place = a_folder(tmp_path)
    with Client(service.url) as client:
        paths = (place / "images").rglob("*.png")
        batch = client.survey(paths, annotations=place / "coco.json", model="clever-hans", masks=128, until=1)
        report = batch.report(100)
    star = next(label for label in report.labels if label.name == "star")
    assert star.decided_outside >= 5
    assert star.suspicious
    assert report.is_suspicious
