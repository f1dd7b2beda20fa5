"""A JPEG without its pixels is refused where the whole one is."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contract.images import open_image, upright_rgb
from app.images.jpeg import strip_scan_data
from app.images.validation import ImageHeader
from tests.support.hostile_images import encoded, picture

_KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "restarts": {"restart_marker_blocks": 2},
    "comment": {"comment": b"\xff\xd9 no end \xff\xda"},
    "progressive": {"progressive": True},
    "grey": {},
}
WHOLE = {
    name: encoded(picture(64, 48, "L" if name == "grey" else "RGB"), "JPEG", **kind) for name, kind in _KINDS.items()
}


def size_by(read: Any, content: bytes) -> tuple[int, int] | None:
    """Return the size that a way of reading finds; None where it refuses."""
    try:
        return read(content)  # type: ignore[no-any-return]
    except Exception:  # because decoders raise whatever they like on broken input
        return None


def read_through(content: bytes) -> tuple[int, int]:
    return ImageHeader.of(content).read_through()


def decoded(content: bytes) -> tuple[int, int]:
    return upright_rgb(open_image(content)).size


def same_verdict(content: bytes) -> bool:
    return size_by(read_through, content) == size_by(decoded, content)


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_one_is_taken_and_one_that_ends_early_is_not_wherever_it_ends(name: str) -> None:
    content = WHOLE[name]
    assert size_by(read_through, content) == (64, 48)
    assert size_by(read_through, content + b"more") == (64, 48)
    assert all(same_verdict(content[:end]) for end in range(0, len(content), 7))
    assert [size_by(read_through, content[:-end]) for end in (1, 2, 10)] == [None] * 3


@pytest.mark.parametrize("name", WHOLE)
def test_only_those_with_several_scans_are_decoded_with_their_pixels(name: str) -> None:
    hollow = strip_scan_data(WHOLE[name])
    assert (hollow is None) == (name == "progressive")
    assert hollow is None or len(hollow.content) < len(WHOLE[name]) / 2


def test_more_scans_than_any_encoder_writes_are_refused_before_they_are_gone_through() -> None:
    content = WHOLE["progressive"]
    scan = content[content.rfind(b"\xff\xda") : -2]
    for more, size in ((0, (64, 48)), (50, (64, 48)), (100_000, None)):
        assert size_by(read_through, content[:-2] + more * scan + content[-2:]) == size


def test_a_head_without_end_is_not_gone_through_at_a_glance() -> None:
    content = WHOLE["plain"]
    for comments, is_hollow in ((50, True), (200, False)):
        longer = content[:2] + comments * b"\xff\xfe\x00\x02" + content[2:]
        assert (strip_scan_data(longer) is not None) == is_hollow
        assert size_by(read_through, longer) == (64, 48)


def test_a_long_head_is_not_gone_through_at_a_glance() -> None:
    content = WHOLE["plain"]
    for comments, is_hollow in ((3, True), (5, False)):
        longer = content[:2] + comments * (b"\xff\xfe\xff\xff" + bytes(65_533)) + content[2:]
        assert (strip_scan_data(longer) is not None) == is_hollow
        assert size_by(read_through, longer) == (64, 48)


@settings(max_examples=600, deadline=None)
@given(
    st.sampled_from(sorted(WHOLE)),
    st.lists(st.tuples(st.floats(0, 1), st.sampled_from([b"\xff", b"\0", b"\xd9", b"\xda", b"\xff\xd9", b"\xff\xda"]))),
    st.floats(0, 1),
)
def test_damage_of_any_kind_is_judged_as_by_decoding(name: str, damages: list[tuple[float, bytes]], end: float) -> None:
    content = bytearray(WHOLE[name])
    for share, damage in damages:
        place = int(share * len(content))
        content[place : place + len(damage)] = damage
    for damaged in (bytes(content), bytes(content[: int(end * len(content))])):
        assert same_verdict(damaged)
