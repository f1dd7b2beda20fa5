"""`Accept` as RFC 9110 section 12.5.1 has it: qualities, precision, case and parameters."""

import io
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from app.api import content_negotiation
from app.api.content_negotiation import best_match
from app.contract.errors import RiseError
from app.rendering.formats import formats
from tests.support.api_requests import explain

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"
PICTURE_IN_CHROME = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
PICTURE_IN_FIREFOX = "image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5"

BEST = {
    # Without a preference.
    None: "npy",
    "": "npy",
    "*/*": "npy",
    "application/*": "npy",
    "image/*": "png",
    "image/png": "png",
    "application/json": "json",
    # The best quality.
    "image/png;q=0.1, application/x-npy;q=0.9": "npy",
    "application/x-npz; q=0.5, image/png ;Q=0.7": "png",
    "application/json;q=.2, image/png;q=0.1": "json",
    "application/x-npy;q=0.3333, application/x-npz;q=0.3334": "npz",
    # Of equal ones, what was named first.
    "image/png, application/x-npy": "png",
    "application/x-npy, image/png": "npy",
    "*/*, image/png": "npy",
    "image/png, */*": "png",
    "text/html;q=0.9, , application/json": "json",
    # The more precise range says how welcome a format is.
    "*/*;q=0.9, application/x-npy;q=0.1": "json",
    "application/x-npy;q=0.1, application/*;q=0.2, */*;q=0.3": "png",
    "image/png;q=0.2, image/png;mask=1": "mask.png",
    # 0 is a refusal.
    "application/json;q=0, */*": "npy",
    "application/x-npy;q=0, */*": "json",
    "*/*, application/*;q=0.000": "png",
    "image/png;q=0, image/png; overlay=1": "overlay.png",
    # Names in any case; parameters of a format, and those of none.
    "IMAGE/PNG": "png",
    "Application/X-NPZ": "npz",
    "image/png; mask=1": "mask.png",
    "image/png;Overlay=1": "overlay.png",
    'application/json; coco="1"': "coco.json",
    "application/json; charset=utf-8": "json",
    # What programs send by themselves.
    BROWSER: "npy",
    PICTURE_IN_CHROME: "png",
    PICTURE_IN_FIREFOX: "png",
    "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2": "npy",
}


@pytest.mark.parametrize(("accept", "ending"), BEST.items())
def test_a_client_gets_the_format_that_it_likes_best(accept: str | None, ending: str) -> None:
    assert best_match(accept) == ending


def test_a_format_that_comes_before_png_in_the_alphabet_does_not_take_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    more = {"avif": SimpleNamespace(MEDIA_TYPE="image/avif"), **formats()}
    monkeypatch.setattr(content_negotiation, "formats", lambda: more)
    content_negotiation._producible.cache_clear()
    found = best_match("image/*"), best_match(PICTURE_IN_CHROME), best_match("image/avif")
    content_negotiation._producible.cache_clear()
    assert found == ("png", "avif", "avif")


@pytest.mark.parametrize(
    "accept", ["*/*;q=0", "text/html", "image/png;q=0", "image/png; mask=2", "image/webp, application/*;q=0", "image"]
)
def test_a_client_that_likes_no_format_is_refused(accept: str) -> None:
    with pytest.raises(RiseError, match=r"application/json, application/x-npy") as refused:
        best_match(accept)
    assert refused.value.code == "not-acceptable"


@pytest.mark.parametrize(("ending", "module"), formats().items())
def test_every_format_can_be_had_by_its_own_media_type(ending: str, module: Any) -> None:
    assert best_match(module.MEDIA_TYPE) == ending
    assert best_match(f"{module.MEDIA_TYPE.upper()};q=0.5, */*;q=0.4") == ending


@given(st.text(st.sampled_from('*/;,="\\ q01.impng\x00é'), max_size=40))
def test_what_makes_no_sense_is_a_format_or_a_refusal(accept: str) -> None:
    with suppress(RiseError):
        assert best_match(accept) in formats()


def test_the_service_answers_in_the_format_that_is_liked_best(http: httpx2.Client, star: bytes) -> None:
    link = explain(http, star, masks=128, until=1, seed=811).json()["links"]["self"] + "/maps/0"
    mask = http.get(link, headers={"Accept": "image/png; mask=1, application/json;q=0.5"})
    assert mask.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(mask.content)).mode == "L"
    array = http.get(link, headers=[("Accept", "image/png;q=0.1"), ("Accept", "application/x-npy;q=0.9")])
    assert array.headers["content-type"] == "application/x-npy"
    assert http.get(link, headers={"Accept": "*/*;q=0"}).status_code == 406
