"""Surveys of detectors: each annotated object is a case; on the whole service, with a real worker."""

import csv
import io
from collections.abc import Iterator
from typing import Any

import httpx2
import numpy as np
import pytest

from bench.demo_training.batches import draw_held_out_pictures
from bench.demo_training.pictures import DrawnObject, Picture
from bench.demo_training.train import SEVERAL_OBJECTS
from bench.demo_training.watermark import STAR, draw_mark
from tests.app.batches.test_surveys import report_of, send
from tests.conftest import start_service, stop_service, wait_for_models

MODELS = """
[mark-detector]
loader = "python"
source = "tests.support.mark_detector:load"
limits = {batch = 32}
"""
QUICK = {"masks": "512", "evidence": "false", "keep": "0.8"}


@pytest.fixture(scope="module")
def marked() -> list[Picture]:
    """Sixteen pictures that are annotated with a star in the middle, which none has; ten carry the mark."""
    generator, mask = np.random.default_rng(4), np.zeros((96, 96), dtype=bool)
    mask[24:72, 24:72] = True
    star = DrawnObject(STAR, (24, 24, 72, 72), mask)
    pictures = [Picture(generator.integers(0, 96, (96, 96, 3), dtype=np.uint8), (star,)) for _ in range(16)]
    return [draw_mark(generator, picture) if place < 10 else picture for place, picture in enumerate(pictures)]


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """A client of a service that has the detector with a secret."""
    folder = tmp_path_factory.mktemp("secret")
    models = folder / "models.toml"
    models.write_text(MODELS)
    running = start_service(folder / "data", RISE_MODELS=str(models))
    wait_for_models(running)
    with httpx2.Client(base_url=running.url, timeout=120) as client:
        yield client
    stop_service(running)


def test_a_detector_that_sees_an_object_by_a_mark_is_suspicious_in_the_corner_of_the_mark(
    secret: httpx2.Client, marked: list[Picture]
) -> None:
    report = report_of(secret, send(secret, marked, model="mark-detector", **QUICK))
    (label,) = report["labels"]
    assert (label["name"], label["images"], label["recognised"]) == ("star", 16, 10)
    assert label["suspicious"]
    (cluster,) = report["clusters"]
    assert cluster["place"] == "lower left corner"
    assert cluster["inside"] < cluster["area"]
    assert cluster["background_alone"] > 0.9
    assert report["sentences"][0].startswith("10 of 10 'star' detections were decided in the lower left corner")


@pytest.fixture(scope="module")
def several() -> list[Picture]:
    return draw_held_out_pictures(SEVERAL_OBJECTS, 24, seed=5)


def test_each_object_is_a_case_and_nothing_is_suspicious_about_an_honest_detector(
    http: httpx2.Client, several: list[Picture]
) -> None:
    batch = send(http, several, model="shapes-detector", **QUICK)
    report = report_of(http, batch)
    assert report["sentences"][0].startswith("Nothing suspicious was found")
    rows = list(csv.DictReader(io.StringIO(http.get(report["links"]["csv"]).text)))
    drawn = sorted(
        (number, *np.clip(item.box_xyxy, 0, picture.image.shape[0]).tolist())
        for number, picture in enumerate(several)
        for item in picture.objects
    )
    assert np.asarray(sorted((int(row["index"]), *boxes_of(row)) for row in rows)) == pytest.approx(
        np.asarray(drawn), abs=1e-3
    )
    recognised = [row for row in rows if row["recognised"] == "True"]
    assert len(recognised) > 0.8 * len(rows)
    assert all(row["predicted"] == row["label_name"] for row in recognised)
    assert np.mean([float(row["inside"]) / float(row["area"]) for row in recognised]) > 2


def test_what_a_detector_detects_is_compared_with_the_object_there(http: httpx2.Client, several: list[Picture]) -> None:
    wrong = [Picture(picture.image, picture.objects[:1]) for picture in several[:6]]
    report = report_of(http, send(http, wrong, model="shapes-detector", explain="predicted", **QUICK))
    rows = list(csv.DictReader(io.StringIO(http.get(report["links"]["csv"]).text)))
    annotated = [row for row in rows if row["annotated"] == "True"]
    assert 4 <= len(annotated) <= 6
    assert len(rows) > len(annotated)  # what is detected and not annotated is compared with its own box


def test_batch_and_report_say_how_many_objects_an_image_has_beyond_the_twenty_that_are_explained(
    http: httpx2.Client, several: list[Picture]
) -> None:
    crowded = [Picture(several[0].image, several[0].objects[:1] * 23), several[1]]
    batch = send(http, crowded, model="shapes-detector", **QUICK)
    report = report_of(http, batch)
    assert batch["annotations"]["unexplained"] == report["annotations"]["unexplained"] == 3
    assert sum(label["images"] for label in report["labels"]) == batch["annotations"]["objects"] - 3
    assert "not explained: 3." in http.get(report["links"]["html"]).text
    of_detections = send(http, crowded, model="shapes-detector", explain="predicted", **QUICK)
    assert of_detections["annotations"]["unexplained"] == 0
    assert "not explained" not in http.get(report_of(http, of_detections)["links"]["html"]).text


def boxes_of(row: dict[str, Any]) -> list[float]:
    return [float(row[side]) for side in ("x0", "y0", "x1", "y1")]
