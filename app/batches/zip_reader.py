"""Uploaded archives: what they hold, read with care.

Nothing is unpacked to disk, names are labels and never paths, and every bound is checked against what the archive says
before anything is inflated, and against what comes out while it is. An archive inside an archive is a file that is no
image. Entries that break a rule are refused one by one; only an archive that breaks the bounds as a whole is refused.
"""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

from app.contract.errors import RiseError
from app.contract.schemas import Failure
from app.contract.settings import Settings

_DIRECTORY_BYTES_PER_IMAGE = 1024
_DIRECTORY_BYTES = 100_000
_DIRECTORY_SIZE = 5  # place in what zipfile reads at the end of an archive
_LONGEST_NAME = 200
_LITTER = {".DS_Store", "Thumbs.db", "desktop.ini"}
_ENCRYPTED = 0x1
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}  # because others take memory as the archive pleases


@dataclass(frozen=True)
class ZipImage:
    """One file in an archive.

    Attributes:
        place: in the archive's directory, from 0.
        name: to show; never a path to be opened.
        problem: why it is not read.
    """

    place: int
    name: str
    problem: Failure | None = None


def list_images(file: IO[bytes], settings: Settings) -> list[ZipImage]:
    """Return the files in an archive that may be images; folders and what systems leave behind are skipped.

    Raises:
        RiseError: `unreadable-archive`, or `batch-too-large` where it holds too many or too much.
    """
    _check_directory(file, settings)
    with open_archive(file) as archive:
        infos = list(enumerate(archive.infolist()))
    kept = [(place, info) for place, info in infos if not _is_litter(info)]
    if not kept:
        raise RiseError("unreadable-archive", "the archive holds no files")
    if len(kept) > settings.max_batch_images:
        detail = f"the archive holds {len(kept)} files; at most {settings.max_batch_images} are allowed"
        raise RiseError("batch-too-large", detail)
    unpacked = sum(info.file_size for _, info in kept)
    if unpacked > settings.max_batch_bytes:
        detail = f"the archive unpacks to {unpacked} bytes; at most {settings.max_batch_bytes} are allowed"
        raise RiseError("batch-too-large", detail)
    return [ZipImage(place, _shown(info.filename), _problem(info, settings)) for place, info in kept]


def open_archive(file: IO[bytes]) -> zipfile.ZipFile:
    """Open an archive.

    Raises:
        RiseError: `unreadable-archive`.
    """
    try:
        return zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as cause:
        raise RiseError("unreadable-archive", "this is not a zip archive, or it is broken") from cause


def read_entry(archive: zipfile.ZipFile, place: int, *, max_bytes: int) -> bytes:
    """Return the content of one file.

    Raises:
        RiseError: `unreadable-image` where it cannot be unpacked, `image-too-large` where it goes on and on.
    """
    try:
        with archive.open(archive.infolist()[place]) as file:
            content = file.read(max_bytes + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as cause:
        raise RiseError("unreadable-image", "this file cannot be unpacked") from cause
    if len(content) > max_bytes:
        raise RiseError("image-too-large", f"the image has more than {max_bytes} bytes")
    return content


def _check_directory(file: IO[bytes], settings: Settings) -> None:
    """Bound the directory before it is read: zipfile reads all of it, however many entries there are."""
    file.seek(0)
    end = zipfile._EndRecData(file)  # type: ignore[attr-defined]  # because zipfile goes by it
    allowed = settings.max_batch_images * _DIRECTORY_BYTES_PER_IMAGE + _DIRECTORY_BYTES
    if end and end[_DIRECTORY_SIZE] > allowed:
        raise RiseError("batch-too-large", f"the archive holds far more than {settings.max_batch_images} files")
    file.seek(0)


def _is_litter(info: zipfile.ZipInfo) -> bool:
    name = PurePosixPath(info.filename)
    return info.filename.endswith("/") or name.name in _LITTER or "__MACOSX" in name.parts


def _shown(name: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in name)[:_LONGEST_NAME]


def _problem(info: zipfile.ZipInfo, settings: Settings) -> Failure | None:
    name = PurePosixPath(info.filename)
    if name.is_absolute() or ".." in name.parts or "\\" in info.filename or ":" in info.filename:
        return Failure(code="invalid-parameters", detail="a name in an archive is a relative path without `..`")
    if info.flag_bits & _ENCRYPTED:
        return Failure(code="unreadable-image", detail="the file is encrypted")
    if info.compress_type not in _METHODS:
        return Failure(code="unreadable-image", detail="the file is neither stored nor deflated")
    if info.file_size > settings.max_image_bytes:
        detail = f"the image has {info.file_size} bytes; at most {settings.max_image_bytes} are allowed"
        return Failure(code="image-too-large", detail=detail)
    return None
