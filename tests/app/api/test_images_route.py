"""Images that are uploaded once and named by their ids: real HTTP, real Valkey, real files."""

import base64
import hashlib
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from redis import Redis

from app.contract.errors import RiseError
from app.contract.redis.keys import batch_key, upload_key
from app.contract.storage.object_store import BlobStore, archive_blob, upload_blob, upload_folder
from app.explanations.expiry_index import ExpiryIndex
from app.images.source import ById
from app.images.upload_register import UploadRegister
from app.images.uploads import Uploads
from app.maintenance.garbage_collector import GarbageCollector
from tests.conftest import SAMPLES
from tests.support.hostile_images import encoded, picture
from tests.support.image_validation import validate

PNG = encoded(picture(), "PNG")


def some_uploads(redis: Redis, tmp_path: Path) -> Uploads:
    return Uploads(UploadRegister(redis, keep_seconds=600), BlobStore((tmp_path / "blobs").as_uri()))


def by_id(upload_id: str) -> ById:
    return ById(upload_id, "/image/id")


def test_the_same_image_has_the_same_id_for_one_tenant_and_another_for_another(redis: Redis, tmp_path: Path) -> None:
    uploads = some_uploads(redis, tmp_path)
    first, second = uploads.keep("anna", validate(PNG)), uploads.keep("anna", validate(PNG))
    assert second.id == first.id
    assert second.created_at == first.created_at
    assert second.expires_at > first.expires_at
    assert uploads.keep("ben", validate(PNG)).id != first.id


def test_an_image_of_another_tenant_is_not_there(redis: Redis, tmp_path: Path) -> None:
    uploads = some_uploads(redis, tmp_path)
    kept = uploads.keep("anna", validate(PNG))
    assert uploads.content("anna", by_id(kept.id)) == PNG
    for call in (uploads.find, uploads.remove):
        with pytest.raises(RiseError) as found:
            call("ben", kept.id)
        assert found.value.code == "not-found"
    with pytest.raises(RiseError) as found:
        uploads.content("ben", by_id(kept.id))
    assert (found.value.code, found.value.errors[0].field) == ("unknown-name", "/image/id")
    assert uploads.content("anna", by_id(kept.id)) == PNG


def test_an_image_expires_and_every_use_puts_that_off(redis: Redis, tmp_path: Path) -> None:
    uploads = some_uploads(redis, tmp_path)
    kept = uploads.keep("anna", validate(PNG))
    seconds: Any = redis.ttl(upload_key(kept.id))
    assert 0 < seconds <= 600
    redis.expire(upload_key(kept.id), 5)
    uploads.content("anna", by_id(kept.id))
    seconds = redis.ttl(upload_key(kept.id))
    assert seconds > 5


def test_an_image_whose_bytes_are_gone_is_unknown_until_it_is_uploaded_again(redis: Redis, tmp_path: Path) -> None:
    uploads, blobs = some_uploads(redis, tmp_path), BlobStore((tmp_path / "blobs").as_uri())
    kept = uploads.keep("anna", validate(PNG))
    blobs.delete_all(upload_folder(kept.id))
    with pytest.raises(RiseError, match="upload it"):
        uploads.content("anna", by_id(kept.id))
    uploads.keep("anna", validate(PNG))
    assert uploads.content("anna", by_id(kept.id)) == PNG


def test_a_removed_image_leaves_nothing(redis: Redis, tmp_path: Path) -> None:
    uploads = some_uploads(redis, tmp_path)
    uploads.remove("anna", uploads.keep("anna", validate(PNG)).id)
    assert redis.keys("*") == []
    assert [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == []


def test_what_has_expired_is_swept_and_what_is_still_named_is_not(redis: Redis, tmp_path: Path) -> None:
    uploads, blobs = some_uploads(redis, tmp_path), BlobStore((tmp_path / "blobs").as_uri())
    used, expired = uploads.keep("anna", validate(PNG)), uploads.keep("anna", validate(encoded(picture(50, 40), "PNG")))
    blobs.put(archive_blob("unfinished"), b"archive")
    blobs.put(archive_blob("expired"), b"archive")
    redis.set(batch_key("unfinished"), "{}")
    redis.delete(upload_key(expired.id))
    collector = GarbageCollector(ExpiryIndex(redis), blobs, keep_seconds=600)
    collector.sweep_orphans(now=time.time())
    assert len(blobs.names("images") + blobs.names("batches")) == 4  # because they are young
    collector.sweep_orphans(now=time.time() + 700)
    assert blobs.names("images") + blobs.names("batches") == [upload_blob(used.id), archive_blob("unfinished")]


def test_several_files_come_back_in_their_order_and_can_be_explained_by_id(http: httpx2.Client, star: bytes) -> None:
    ring = (SAMPLES / "ring.jpg").read_bytes()
    answer = http.post("/v1/images", files=[("image", ("star.jpg", star)), ("image", ("ring.jpg", ring))])
    assert answer.status_code == 201
    first, second = answer.json()["images"]
    assert first["sha256"] == hashlib.sha256(star).hexdigest()
    assert second["size"] == len(ring)
    assert http.get(first["links"]["self"]).json() == first
    uploaded = http.post("/v1/explanations", files={"image": star}, data={"model": "shapes", "seed": "61"}).json()
    json = {"model": "shapes", "seed": 61, "image": {"id": first["id"]}}
    assert http.post("/v1/explanations", json=json).json()["id"] == uploaded["id"]
    form = [("model", (None, "shapes")), ("seed", (None, "61")), ("image_id", (None, first["id"]))]
    assert http.post("/v1/explanations", files=form).json()["id"] == uploaded["id"]
    seen = http.post("/v1/models/shapes/predict", json={"image": {"id": second["id"]}}).json()
    assert seen[0]["name"] == "ring"


def test_the_photograph_of_a_phone_with_more_pictures_behind_it_is_kept_and_explained(http: httpx2.Client) -> None:
    photograph = encoded(picture(), "MPO", save_all=True, append_images=[picture()])
    (kept,) = http.post("/v1/images", files={"image": ("photograph.jpg", photograph)}).json()["images"]
    assert kept["media_type"] == "image/jpeg"
    explained = http.post("/v1/explanations", files={"image": photograph}, data={"model": "shapes", "masks": "128"})
    assert explained.status_code == 202
    assert http.get(explained.json()["links"]["image"]).headers["content-type"] == "image/jpeg"


def test_images_come_as_json_too_one_or_many(http: httpx2.Client, star: bytes) -> None:
    image = {"base64": base64.b64encode(star).decode()}
    one = http.post("/v1/images", json={"image": image}).json()["images"]
    many = http.post("/v1/images", json={"images": [image, image]}).json()["images"]
    assert [view["id"] for view in one * 2] == [view["id"] for view in many]


def test_a_deleted_image_is_gone_and_its_explanations_are_not(http: httpx2.Client) -> None:
    (kept,) = http.post("/v1/images", files={"image": encoded(picture(70, 50), "PNG")}).json()["images"]
    body = {"model": "shapes", "masks": 128, "until": 1, "image": {"id": kept["id"]}}
    explained = http.post("/v1/explanations", json=body).json()
    assert http.delete(kept["links"]["self"]).status_code == 204
    assert http.get(kept["links"]["self"]).status_code == 404
    assert http.post("/v1/explanations", json={**body, "seed": 1}).json()["code"] == "unknown-name"
    assert http.get(explained["links"]["image"]).status_code == 200


def test_a_file_that_is_no_image_is_named(http: httpx2.Client, star: bytes) -> None:
    answer = http.post("/v1/images", files=[("image", ("a.jpg", star)), ("image", ("b.txt", b"text"))])
    assert answer.status_code == 422
    assert answer.json()["code"] == "unreadable-image"
    assert "b.txt" in answer.json()["detail"]


def test_uploads_that_are_none_are_refused(http: httpx2.Client, star: bytes) -> None:
    bodies: list[dict[str, Any]] = [{}, {"images": []}, {"images": "x"}, {"image": {}}, {"image": {"id": 7}}, {"a": []}]
    for body in bodies:
        assert http.post("/v1/images", json=body).status_code == 422, body
    assert http.post("/v1/images", content=b"x").status_code == 415
    assert http.post("/v1/images", files={"picture": star}).status_code == 422
    both = [("model", (None, "shapes")), ("image_id", (None, "x")), ("image_url", (None, "https://a.b/"))]
    assert http.post("/v1/explanations", files=both).json()["errors"][0]["field"] == "/image"
    assert http.get("/v1/images/nothing").json()["code"] == "not-found"
