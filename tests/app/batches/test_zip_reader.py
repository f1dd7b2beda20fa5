"""Archives that come from anywhere: what they hold is listed, and nothing in them does harm."""

import io
import struct
import warnings
import zipfile
from typing import Any

import pytest

from app.batches.zip_reader import list_images, open_archive, read_entry
from app.contract.errors import RiseError
from app.contract.settings import Settings

SETTINGS = Settings(max_image_bytes=10_000, max_batch_bytes=50_000, max_batch_images=10)


def packed(*files: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> io.BytesIO:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", method) as archive:
        warnings.simplefilter("ignore")  # because some archives here hold a name twice
        for name, content in files:
            archive.writestr(name, content)
    return buffer


def with_declared_size(archive: io.BytesIO, size: int) -> io.BytesIO:
    """Return an archive of one file that lies about its unpacked size in both headers."""
    content = bytearray(archive.getvalue())
    struct.pack_into("<I", content, content.index(b"PK\x01\x02") + 24, size)
    struct.pack_into("<I", content, 22, size)
    return io.BytesIO(bytes(content))


def test_files_are_listed_and_what_systems_leave_behind_is_not() -> None:
    names = ["a.jpg", "folder/b.png", "folder/", "__MACOSX/._a.jpg", ".DS_Store", "folder/Thumbs.db", "notes.txt"]
    archive = packed(*((name, b"x") for name in names))
    entries = list_images(archive, SETTINGS)
    assert [entry.name for entry in entries] == ["a.jpg", "folder/b.png", "notes.txt"]
    assert all(entry.problem is None for entry in entries)
    assert read_entry(open_archive(archive), entries[1].place, max_bytes=10) == b"x"


def test_an_archive_from_windows_has_folders_and_its_litter_is_left_out() -> None:
    names = ["photos\\a.jpg", "photos\\", "photos\\Thumbs.db", "Desktop.ini", "$RECYCLE.BIN\\x.jpg", "b\\._c.jpg"]
    archive = packed(*((name, b"x") for name in names))
    (entry,) = list_images(archive, SETTINGS)
    assert (entry.name, entry.problem) == ("photos/a.jpg", None)
    assert read_entry(open_archive(archive), entry.place, max_bytes=10) == b"x"


@pytest.mark.parametrize(
    ("name", "encoding"), [("\u7167\u7247/\u72d7.jpg", "gbk"), ("Füße.jpg", "utf-8"), ("Füße.jpg", "cp437")]
)
def test_names_in_the_encoding_of_their_system_are_read(name: str, encoding: str) -> None:
    encoded = name.encode(encoding)
    placeholder = "y" * len(encoded)
    content = packed((placeholder, b"x")).getvalue().replace(placeholder.encode(), encoded)
    (entry,) = list_images(io.BytesIO(content), SETTINGS)
    assert entry.name == name


def test_two_files_of_one_name_are_two_files() -> None:
    archive = packed(("a.jpg", b"first"), ("a.jpg", b"second"))
    opened = open_archive(archive)
    assert [read_entry(opened, entry.place, max_bytes=10) for entry in list_images(archive, SETTINGS)] == [
        b"first",
        b"second",
    ]


@pytest.mark.parametrize(
    "name", ["../evil.jpg", "/etc/passwd", "a/../../b.jpg", "..\\evil.jpg", "C:\\evil.jpg", "\\\\server\\a.jpg"]
)
def test_a_name_that_leads_elsewhere_is_refused_and_its_neighbours_are_not(name: str) -> None:
    bad, good = list_images(packed((name, b"x"), ("good.jpg", b"x")), SETTINGS)
    assert bad.problem is not None
    assert good.problem is None


def test_names_are_shown_without_what_would_disturb_a_terminal() -> None:
    (entry,) = list_images(packed(("a\x1b[31m\u202e.jpg" + "b" * 500, b"x")), SETTINGS)
    assert entry.name.isprintable()
    assert len(entry.name) <= 200


def test_an_image_that_says_that_it_unpacks_to_too_much_is_refused_without_unpacking() -> None:
    (entry,) = list_images(packed(("bomb.jpg", bytes(20_000))), SETTINGS)
    assert entry.problem is not None
    assert entry.problem.code == "image-too-large"


@pytest.mark.parametrize("declared", [100, 9_000])
def test_an_image_that_unpacks_to_more_than_it_says_is_not_read_to_its_end(declared: int) -> None:
    archive = with_declared_size(packed(("bomb.jpg", bytes(10_000_000))), declared)
    (entry,) = list_images(archive, SETTINGS)
    with pytest.raises(RiseError) as found:
        read_entry(open_archive(archive), entry.place, max_bytes=SETTINGS.max_image_bytes)
    assert found.value.code in {"unreadable-image", "image-too-large"}


TOO_LARGE: dict[str, Any] = {
    "too many files": packed(*((f"{number}.jpg", b"x") for number in range(11))),
    "a directory without end": packed(*((f"{number}" * 20, b"") for number in range(3000))),
    "too much in all": packed(*((f"{number}.jpg", bytes(9_000)) for number in range(6))),
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_an_archive_over_the_bounds_is_refused_as_a_whole(name: str) -> None:
    with pytest.raises(RiseError) as found:
        list_images(TOO_LARGE[name], SETTINGS)
    assert found.value.code == "batch-too-large"


def test_a_directory_over_its_bound_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("the directory was read"))
    with pytest.raises(RiseError, match="far more"):
        list_images(TOO_LARGE["a directory without end"], SETTINGS)


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_methods_of_packing_that_take_memory_as_they_please_are_refused(method: int) -> None:
    (entry,) = list_images(packed(("a.jpg", b"x" * 1000), method=method), SETTINGS)
    assert entry.problem is not None
    assert "neither stored nor deflated" in entry.problem.detail


def test_an_encrypted_file_is_refused() -> None:
    content = bytearray(packed(("a.jpg", b"x")).getvalue())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (entry,) = list_images(io.BytesIO(bytes(content)), SETTINGS)
    assert entry.problem is not None
    assert "encrypted" in entry.problem.detail


@pytest.mark.parametrize(
    "content", [b"", b"not a zip", b"PK\x03\x04" + bytes(100), packed(("folder/", b"")).getvalue()]
)
def test_what_is_no_archive_of_files_is_refused(content: bytes) -> None:
    with pytest.raises(RiseError) as found:
        list_images(io.BytesIO(content), SETTINGS)
    assert found.value.code == "unreadable-archive"


def test_an_archive_with_bytes_changed_anywhere_is_read_or_refused_and_nothing_else() -> None:
    whole = packed(("a.jpg", b"first" * 50), ("b.jpg", b"second" * 50)).getvalue()
    for place in range(len(whole)):
        for value in (0, 255, whole[place] ^ 1):
            archive = io.BytesIO(whole[:place] + bytes([value]) + whole[place + 1 :])
            try:
                opened = open_archive(archive)
                for entry in list_images(archive, SETTINGS):
                    if entry.problem is None:
                        read_entry(opened, entry.place, max_bytes=1000)
            except RiseError:
                continue
