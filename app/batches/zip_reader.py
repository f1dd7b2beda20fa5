"""Reads uploaded zip archives, which are not trusted.

Nothing is unpacked to disk, and names are labels, never paths. Sizes are checked by the archive's directory before an
entry is inflated, and by the inflated bytes. An archive inside an archive is a file that is no image. Entries that
break a rule are refused one by one; an archive is refused if it exceeds a limit as a whole.
"""

import re
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
_DIRECTORY_SIZE = 5  # index in zipfile's end-of-central-directory record
_MAX_NAME_LENGTH = 200
_SYSTEM_FILES = {".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}
_SYSTEM_FOLDERS = {"__macosx", "$recycle.bin", "@eadir", ".spotlight-v100", ".trashes", ".fseventsd"}
_UTF8_NAME = 0x800
_CHINESE = re.compile(rb"(?:[ -~]|[\xb0-\xf7][\xa1-\xfe])+")  # GB 2312: pairs that other encodings seldom have
_ENCRYPTED = 0x1
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}  # because the archive sets the memory that others take


@dataclass(frozen=True)
class ZipImage:
    """One file in an archive.

    Attributes:
        place: index in the archive's directory.
        name: a label, never a path to be opened.
        problem: why it is not read.
    """

    place: int
    name: str
    problem: Failure | None = None


def list_images(file: IO[bytes], settings: Settings) -> list[ZipImage]:
    """Return the files in an archive that may be images; folders and files of operating systems are skipped.

    Raises:
        RiseError: `unreadable-archive`, or `batch-too-large` for too many files or bytes.
    """
    _check_directory(file, settings)
    with open_archive(file) as archive:
        infos = list(enumerate(archive.infolist()))
    kept = [(place, info) for place, info in infos if not _is_system_file(info)]
    if not kept:
        raise RiseError("unreadable-archive", "the archive holds no files")
    if len(kept) > settings.max_batch_images:
        detail = f"the archive holds {len(kept)} files; at most {settings.max_batch_images} are allowed"
        raise RiseError("batch-too-large", detail)
    unpacked = sum(info.file_size for _, info in kept)
    if unpacked > settings.max_batch_bytes:
        detail = f"the archive unpacks to {unpacked} bytes; at most {settings.max_batch_bytes} are allowed"
        raise RiseError("batch-too-large", detail)
    return [ZipImage(place, _shown(_name(info)), _problem(info, settings)) for place, info in kept]


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
        RiseError: `unreadable-image` if it cannot be inflated, `image-too-large` if it inflates to too much.
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
    """Limit the size of the central directory, because zipfile reads all of it into memory."""
    file.seek(0)
    end = zipfile._EndRecData(file)  # type: ignore[attr-defined]  # because zipfile uses this record
    allowed = settings.max_batch_images * _DIRECTORY_BYTES_PER_IMAGE + _DIRECTORY_BYTES
    if end and end[_DIRECTORY_SIZE] > allowed:
        raise RiseError("batch-too-large", f"the archive holds far more than {settings.max_batch_images} files")
    file.seek(0)


def _is_system_file(info: zipfile.ZipInfo) -> bool:
    name = _name(info)
    *folders, last = PurePosixPath(name.casefold()).parts or ("",)
    is_litter = last in _SYSTEM_FILES or last.startswith("._") or not _SYSTEM_FOLDERS.isdisjoint([*folders, last])
    return name.endswith("/") or is_litter


def _name(info: zipfile.ZipInfo) -> str:
    """Return the name of an entry, with `/` where Windows writes a backslash.

    Archivers that do not say that a name is UTF-8 write the encoding of their system all the same; Python takes it for
    code page 437.
    """
    name = info.filename.replace("\\", "/")
    if info.flag_bits & _UTF8_NAME or name.isascii():
        return name
    try:
        encoded = name.encode("cp437")
        return encoded.decode()
    except UnicodeEncodeError:  # because an extra field has said the name
        return name
    except UnicodeDecodeError:
        return encoded.decode("gb18030", "replace") if _CHINESE.fullmatch(encoded) else name


def _shown(name: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in name)[:_MAX_NAME_LENGTH]


def _problem(info: zipfile.ZipInfo, settings: Settings) -> Failure | None:
    name = PurePosixPath(_name(info))
    if name.is_absolute() or ".." in name.parts or ":" in info.filename:
        return Failure(code="invalid-parameters", detail="a name in an archive is a relative path without `..`")
    if info.flag_bits & _ENCRYPTED:
        return Failure(code="unreadable-image", detail="the file is encrypted")
    if info.compress_type not in _METHODS:
        return Failure(code="unreadable-image", detail="the file is neither stored nor deflated")
    if info.file_size > settings.max_image_bytes:
        detail = f"the image has {info.file_size} bytes; at most {settings.max_image_bytes} are allowed"
        return Failure(code="image-too-large", detail=detail)
    return None
