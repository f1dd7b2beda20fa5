"""Forms as browsers send them: what is left empty counts as not sent."""

from typing import Any

import httpx2
import pytest
from playwright.sync_api import Page

from tests.conftest import SAMPLES, Service
from tests.support.browser import browser, page
from tests.support.loopback import Reply, loopback

__all__ = ["browser", "page"]

FORM = """<!DOCTYPE html><title>form</title>
<form method="post" enctype="multipart/form-data" action="SERVICE/v1/explanations">
  <input type="file" name="image"><input name="image_id"><input name="image_url"><input name="model">
  <input name="masks" type="number"><input name="targets"><input name="callback"><input name="seed">
  <select name="method"><option value=""></option><option>rise</option></select>
  <input type="submit" value="Explain">
</form>"""


def test_a_form_in_a_browser_may_leave_everything_empty_that_has_a_default(page: Page, service: Service) -> None:
    form = Reply(FORM.replace("SERVICE", service.url).encode(), headers={"content-type": "text/html"})
    with loopback(lambda _: form) as server:
        page.goto(server.url)
        page.locator("[name=image]").set_input_files(SAMPLES / "star.jpg")
        page.locator("[name=model]").fill("shapes")
        with page.expect_navigation() as navigated:
            page.get_by_role("button", name="Explain").click()
    answer = navigated.value.json()
    assert answer.get("method") == "rise", answer
    assert answer["parameters"]["masks"] == 4000


def test_an_empty_file_stands_beside_the_image_that_is_meant(http: httpx2.Client, star: bytes) -> None:
    image_id = http.post("/v1/images", files={"image": star}).json()["images"][0]["id"]
    unfilled: dict[str, Any] = {"image": ("", b"", "application/octet-stream")}
    body = {"model": "shapes", "masks": "128", "image_id": image_id, "image_url": ""}
    for file in (unfilled, {"image": ("empty.jpg", b"")}):
        answer = http.post("/v1/explanations", files=file, data=body)
        assert answer.is_success, answer.text


def test_uploads_may_come_with_fields_that_are_left_empty(http: httpx2.Client, star: bytes) -> None:
    sent = [("image", ("star.jpg", star)), ("image", ("", b"")), ("note", (None, b""))]
    answer = http.post("/v1/images", files=sent)
    assert (answer.status_code, len(answer.json()["images"])) == (201, 1), answer.text
    assert http.post("/v1/images", files={"image": star}, data={"note": "x"}).json()["code"] == "invalid-parameters"


def test_an_unfilled_archive_stands_beside_a_list_of_images(http: httpx2.Client, star: bytes) -> None:
    image_id = http.post("/v1/images", files={"image": star}).json()["images"][0]["id"]
    content = (
        '--b\r\nContent-Disposition: form-data; name="archive"; filename=""\r\n\r\n\r\n'
        '--b\r\nContent-Disposition: form-data; name="method"\r\n\r\n\r\n'
        '--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nshapes\r\n'
        '--b\r\nContent-Disposition: form-data; name="masks"\r\n\r\n128\r\n'
        f'--b\r\nContent-Disposition: form-data; name="images"\r\n\r\n[{{"id": "{image_id}"}}]\r\n--b--\r\n'
    )
    answer = http.post("/v1/batches", content=content, headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert (answer.status_code, answer.json()["total"]) == (202, 1), answer.text


@pytest.mark.parametrize(
    ("file", "code"), [(("", b""), "invalid-parameters"), (("empty.jpg", b""), "unreadable-image")]
)
def test_a_form_without_an_image_says_so(http: httpx2.Client, file: tuple[str, bytes], code: str) -> None:
    answer = http.post("/v1/explanations", files={"image": file}, data={"model": "shapes"})
    assert (answer.status_code, answer.json()["code"]) == (422, code)


def test_json_may_begin_with_a_byte_order_mark(http: httpx2.Client, star: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    refused = http.post("/v1/explanations", content=b'\xef\xbb\xbf{"model": "shapes"}', headers=headers)
    assert refused.json()["errors"][0]["field"] == "/image"
    done = http.post("/v1/explanations", files={"image": star}, data={"model": "shapes"}, headers={"Prefer": "wait=60"})
    here = done.json()["links"]["self"]
    measured = http.post(f"{here}/metrics", content=b'\xef\xbb\xbf{"metrics": ["average-drop"]}', headers=headers)
    assert measured.is_success, measured.text
