"""Surveys: annotated batches on the whole service, with a real worker."""

import csv
import io
import json
import re
import time
from typing import Any

import httpx2
import pytest
from PIL import Image

from app.contract.schemas import JsonObject
from bench.demo_training.pictures import Picture
from tests.app.batches.test_zip_reader import packed
from tests.support.annotated_pictures import coco_of, draw_pictures, encoded, files_of

QUICK = {"masks": "128", "until": "1"}


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    """Other shapes, stars, and from the fifteenth on stars with the mark."""
    return draw_pictures(marked=12, unmarked=4, others=10, seed=1)[::-1]


def send(http: httpx2.Client, pictures: list[Picture], **fields: str) -> Any:
    files = {
        "archive": ("images.zip", packed(*files_of(pictures)).getvalue()),
        "annotations": ("coco.json", encoded(coco_of(pictures))),
    }
    answer = http.post("/v1/batches", files=files, data=QUICK | fields)
    assert answer.status_code == 202, answer.text
    return answer.json()


def test_uploads_are_found_in_annotations_by_the_names_that_a_request_gives_them(
    http: httpx2.Client, pictures: list[Picture]
) -> None:
    files = files_of(pictures[:3])
    uploads = http.post("/v1/images", files=[("image", file) for file in files]).json()["images"]
    images = [{"id": upload["id"], "name": name} for upload, (name, _) in zip(uploads, files, strict=True)]
    fields = {"model": "shapes", "images": json.dumps(images), **QUICK}
    annotations = {"annotations": ("coco.json", encoded(coco_of(pictures)))}
    batch = http.post("/v1/batches", files=annotations, data=fields).json()
    assert batch["annotations"]["images"] == 3
    listed = http.get(batch["links"]["explanations"]).json()
    assert [item["name"] for item in listed] == [name for name, _ in files]


def report_of(http: httpx2.Client, batch: Any, seconds: float = 100) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = http.get(batch["links"]["report"])
        if answer.status_code == 200:
            return answer.json()
        assert answer.status_code == 202, answer.text
        assert answer.headers["retry-after"] == "1"
        time.sleep(0.2)
    raise AssertionError(answer.json())


@pytest.fixture(scope="module")
def hans(http: httpx2.Client, pictures: list[Picture]) -> Any:
    """The report about the model with a secret."""
    batch = send(http, pictures, model="clever-hans")
    assert batch["annotations"] == {"images": 26, "objects": 26, "unexplained": 0, "error_count": 0, "errors": []}
    return report_of(http, batch)


def test_the_report_names_the_corner_of_the_mark_for_the_label_that_it_decides(hans: Any) -> None:
    suspects = [cluster for cluster in hans["clusters"] if cluster["suspicious"]]
    assert [cluster["label"] for cluster in suspects] == ["star"]
    (found,) = suspects
    assert found["place"] == "lower left corner"
    assert found["inside"] < found["area"]
    assert found["background_alone"] > 0.9
    assert hans["sentences"][0] == found["sentence"]
    assert [label["name"] for label in hans["labels"] if label["suspicious"]] == ["star"]
    assert hans["left_out"] == []
    assert hans["images"] == 26


def test_members_maps_and_rows_of_a_report_have_addresses(http: httpx2.Client, hans: Any) -> None:
    found = hans["clusters"][0]
    members = http.get(found["members"]).json()
    assert len(members["cases"]) == found["images"]
    assert all(case["name"] >= "pictures/014.png" for case in members["cases"][: found["decided_outside"]])
    picture = Image.open(io.BytesIO(http.get(found["mean_map"]).content)).convert("L")
    assert picture.getpixel((30, 225)) > 3 * picture.getpixel((200, 60))  # type: ignore[operator]
    star = next(label for label in hans["labels"] if label["name"] == "star")
    assert http.get(star["mean_map"]).headers["content-type"] == "image/png"
    rows = list(csv.DictReader(io.StringIO(http.get(hans["links"]["csv"]).text)))
    assert len(rows) == 26
    assert rows[-1]["clusters"] == "0"
    assert sum(row["suspicious"] == row["decided_outside"] == "True" for row in rows) == found["decided_outside"]
    assert not any(row["suspicious"] == "True" for row in rows[:14])
    assert http.get(f"{hans['links']['self']}/clusters/99").status_code == 404


def test_tasks_for_label_studio_begin_with_suspicious_images_and_have_their_figures(
    http: httpx2.Client, hans: Any
) -> None:
    data = [task["data"] for task in http.get(f"{hans['links']['batch']}/label-studio.json").json()]
    count = hans["clusters"][0]["decided_outside"]
    assert [each["suspicious"] for each in data] == [True] * count + [False] * (26 - count)
    assert all(each["name"] >= "pictures/014.png" for each in data[:count])
    assert {each["cluster"] for each in data[:count]} == {"lower left corner"}
    assert max(each["inside"] for each in data[:count]) < 0.5
    assert [each["name"] for each in data[count:]] == sorted(each["name"] for each in data[count:])


def test_nothing_is_suspicious_about_an_honest_model_on_the_same_pictures(
    http: httpx2.Client, pictures: list[Picture]
) -> None:
    report = report_of(http, send(http, pictures, model="shapes", explain="predicted"))
    assert report["explain"] == "predicted"
    assert not any(each["suspicious"] for each in [*report["labels"], *report["clusters"]])
    assert report["sentences"][0].startswith("Nothing suspicious was found")


def test_annotations_in_a_json_body_are_joined_to_uploads_by_their_ids(
    http: httpx2.Client, pictures: list[Picture]
) -> None:
    few = pictures[-3:]
    uploads = http.post("/v1/images", files=[("image", file) for file in files_of(few)]).json()["images"]
    coco = coco_of(few)
    for image, upload in zip(coco["images"], uploads, strict=True):
        image["file_name"] = upload["id"]
    ids = [{"id": upload["id"]} for upload in uploads]
    body = {"images": ids, "annotations": coco, "model": "clever-hans", "masks": 128, "until": 1, "seed": 71}
    batch = http.post("/v1/batches", json=body).json()
    assert batch["annotations"] == {"images": 3, "objects": 3, "unexplained": 0, "error_count": 0, "errors": []}
    report = report_of(http, batch)
    assert report["left_out"] == []
    assert [(label["name"], label["images"]) for label in report["labels"]] == [("star", 3)]


def _without(name: str) -> JsonObject:
    data = coco_of([])
    del data[name]
    return data


@pytest.mark.parametrize(
    ("annotations", "status", "words"),
    [
        ([], 422, "an object with the lists"),
        ("coco.json", 422, "an object with the lists"),
        (_without("images"), 422, "an object with the lists"),
        (coco_of([]), 422, "none of them can be used"),
        ({**coco_of([]), "images": [{"id": 1, "file_name": "other"}]}, 422, "no image was sent by the name 'other'"),
        ({**coco_of([]), "images": [0] * 100_001}, 413, "a JSON body holds at most 100,000 values"),
    ],
    ids=["list", "text", "no-images", "empty", "wrong-name", "many-values"],
)
def test_annotations_in_a_json_body_that_cannot_be_used_are_refused_in_words(
    http: httpx2.Client, annotations: object, status: int, words: str
) -> None:
    body = {"images": [{"id": "one"}], "annotations": annotations, "model": "shapes"}
    answer = http.post("/v1/batches", json=body)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["detail"]


def test_a_json_body_with_annotations_that_are_nested_too_deeply_is_refused(http: httpx2.Client) -> None:
    content = b'{"images": [{"id": "one"}], "model": "shapes", "annotations": ' + b"[" * 40_000 + b"]" * 40_000 + b"}"
    answer = http.post("/v1/batches", content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed-request"), answer.text


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b" " * 100_000_000, 413, "at most 32,000,000 bytes"),
        (b'{"images": ' + b"[" * 1_000_000, 422, "nested too deeply"),
        (b"\xff\xd8\xff", 422, "this is not JSON"),
    ],
    ids=["hundred-megabytes", "nested", "picture"],
)
def test_a_file_of_annotations_that_cannot_be_read_is_refused_in_words(
    http: httpx2.Client, pictures: list[Picture], content: bytes, status: int, words: str
) -> None:
    files = {"archive": ("images.zip", packed(*files_of(pictures[:1])).getvalue()), "annotations": ("c.json", content)}
    answer = http.post("/v1/batches", files=files, data={**QUICK, "model": "shapes"})
    assert answer.status_code == status, answer.text
    assert words in answer.json()["detail"]
    assert answer.json()["errors"][0]["field"] == "/annotations"


def test_the_report_is_one_file_to_print_with_the_pictures_of_each_cluster(http: httpx2.Client, hans: Any) -> None:
    answer = http.get(hans["links"]["html"])
    page = answer.text
    assert answer.headers["content-type"].startswith("text/html")
    assert hans["sentences"][0] in page
    assert "<script" not in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    shown = sum(min(cluster["images"], 12) + 1 for cluster in hans["clusters"])
    assert page.count("<img ") == shown
    assert page.count('class="outside"') == 12
    assert "script-src" not in answer.headers["content-security-policy"]
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
