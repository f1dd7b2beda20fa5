"""What a crash, a full disk or a damaged file does to objects in a local folder."""

import io
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract.errors import BlobNotFoundError, StorageError
from app.contract.storage.chunked_file import ChunkedFile
from app.contract.storage.object_store import BlobStore, archive_blob, image_blob
from tests.support.small_disks import fill, make_room, small_disk

_WRITER = """
import sys, time, obstore
from obstore.store import from_url

def slowly():
    yield b"x" * 6_000_000
    yield b"x" * 6_000_000
    print("half", flush=True)
    time.sleep(600)

obstore.put(from_url(sys.argv[1], mkdir=True), sys.argv[2], slowly())
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


@pytest.fixture
def blobs(folder: Path) -> BlobStore:
    return BlobStore(folder.as_uri())


def hence(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def kill_in_the_middle(folder: Path, name: str) -> None:
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, folder.as_uri(), name], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"half\n"
    writer.kill()
    writer.wait()
    writer.stdout.close()


def test_a_writer_that_is_killed_leaves_nothing_that_can_be_read_and_nothing_for_ever(
    blobs: BlobStore, folder: Path
) -> None:
    blobs.put(image_blob("two"), b"whole")
    kill_in_the_middle(folder, image_blob("one"))
    kill_in_the_middle(folder, image_blob("two"))
    left = [file for file in folder.rglob("*") if file.is_file() and "#" in file.name]
    assert len(left) == 2
    assert blobs.names("explanations") == [image_blob("two")]
    assert blobs.get(image_blob("two")) == b"whole"
    with pytest.raises(BlobNotFoundError):
        blobs.get(image_blob("one"))
    assert blobs.delete_unfinished(before=hence(-60)) == 0  # because its writer might live
    assert blobs.delete_unfinished(before=hence(60)) == 2
    assert sorted(path.name for path in (folder / "explanations").iterdir()) == ["two"]
    assert blobs.get(image_blob("two")) == b"whole"


def test_a_file_in_parts_reads_like_the_file_that_it_was(blobs: BlobStore, folder: Path) -> None:
    content = np.random.default_rng(1).bytes(20_000_000)
    blobs.put_file(archive_blob("one"), io.BytesIO(content))
    assert len(blobs.names(archive_blob("one"))) == 3
    with blobs.open(archive_blob("one")) as file:
        assert file.read() == content
        assert file.seek(-30, io.SEEK_END) == len(content) - 30
        assert file.read() == content[-30:]
        file.seek(7_999_990)
        assert file.read(20) == content[7_999_990:8_000_010]
    blobs.delete_all("batches/one")
    assert list(folder.rglob("*archive*")) == []
    with pytest.raises(BlobNotFoundError):
        blobs.open(archive_blob("one"))


@given(
    st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 30)), max_size=8),
)
def test_parts_of_any_size_are_one_file(contents: list[bytes], looks: list[tuple[int, int]]) -> None:
    stored = {f"{number:06d}": content for number, content in enumerate(contents)}
    sizes = {name: len(content) for name, content in stored.items()}
    whole = io.BytesIO(b"".join(contents))
    file = io.BufferedReader(ChunkedFile(lambda name, start, end: stored[name][start:end], sizes), 4)
    for place, size in looks:
        assert file.seek(place) == whole.seek(place)
        assert file.read(size) == whole.read(size)
    assert file.seek(0) == 0
    assert file.read() == whole.getvalue()


def test_an_object_of_a_store_that_is_not_there_is_not_said_to_be_gone(blobs: BlobStore, folder: Path) -> None:
    blobs.put(image_blob("one"), b"content")
    shutil.rmtree(folder)
    for ask in (lambda: blobs.get(image_blob("one")), lambda: blobs.get_array(image_blob("one"))):
        with pytest.raises(StorageError, match="the storage that is set does not exist"):
            ask()


def test_a_damaged_array_is_the_storage_s_fault(blobs: BlobStore, folder: Path) -> None:
    blobs.put_array("explanations/one/effects", np.zeros(1000))
    file = folder / "explanations/one/effects"
    for size in (file.stat().st_size - 8, 10, 0):
        with file.open("r+b") as opened:
            opened.truncate(size)
        with pytest.raises(StorageError, match="damaged"):
            blobs.get_array("explanations/one/effects")


def test_a_full_disk_takes_nothing_and_spoils_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4) as disk:
        blobs = BlobStore((disk / "blobs").as_uri())
        blobs.put(image_blob("one"), b"first")
        blobs.ping()
        fill(disk)
        for content in (b"x" * 100_000, b"x" * 10_000_000):
            with pytest.raises(StorageError, match="the storage is full"):
                blobs.put(image_blob("one"), content)
        with pytest.raises(StorageError, match="the storage is full"):
            blobs.ping()
        assert blobs.get(image_blob("one")) == b"first"
        assert [path.name for path in (disk / "blobs/explanations/one").iterdir()] == ["image"]
        make_room(disk)
        blobs.put(image_blob("one"), b"x" * 100_000)
        blobs.ping()


def test_a_disk_with_hardly_any_room_is_called_full_before_an_image_has_to_be_refused(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4) as disk:
        blobs = BlobStore((disk / "blobs").as_uri())
        fill(disk)
        with (disk / "ballast").open("r+b") as ballast:
            ballast.truncate(3_500_000)
        with pytest.raises(StorageError, match="the storage is full"):
            blobs.ping()
        blobs.put(image_blob("one"), b"small")
