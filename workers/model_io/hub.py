"""Models that are a folder of `config.json` and SafeTensors: on this machine, or by id on the Hugging Face hub."""

import re
from dataclasses import dataclass
from pathlib import Path

_DEFINING = ("*.json", "*.safetensors")
_CAN_HOLD_CODE = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack"}
_HUB_ID = r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?"


@dataclass(frozen=True)
class ModelSource:
    """Where a model lies.

    Attributes:
        folder: with its files.
        files: that define it; empty where `identity` does.
        identity: the commit of a hub id.
    """

    folder: Path
    files: tuple[Path, ...] = ()
    identity: str = ""


def find_source(name: str, *, folder: Path, revision: str | None = None) -> ModelSource:
    """Return the folder of a model; one of the hub is fetched, or taken from the cache where there is no network.

    Args:
        name: a path relative to `folder`, or a hub id; a folder that exists is never looked for on the hub.
        folder: of the models file.
        revision: branch, tag or commit of a hub id; None takes its main branch.

    Raises:
        ValueError: if there is neither, or weights come only in a form that can hold code.
        ModuleNotFoundError: if the library that fetches from the hub is not installed.
    """
    path = folder / Path(name).expanduser()
    if path.is_dir():
        if revision is not None:
            raise ValueError(f"options.revision: {path} is a folder, which has no revisions")
        files = sorted(file for pattern in _DEFINING for file in path.glob(pattern))
        return _checked(ModelSource(path, tuple(files)))
    if not re.fullmatch(_HUB_ID, name):
        raise ValueError(f"{path}: there is no such folder")
    snapshot = _snapshot(name, path, revision)
    return _checked(ModelSource(snapshot, identity=f"{name}@{snapshot.name}"))


def _snapshot(name: str, path: Path, revision: str | None) -> Path:
    """Return the folder of a hub id's files, named like the commit."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - an optional library
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError  # noqa: PLC0415 - likewise

    missing = f"there is no folder {path}"
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=["*.json", "model*.safetensors"]))
    except LocalEntryNotFoundError as cause:
        raise ValueError(f"{missing}, and {name!r} cannot be fetched from the hub, nor is it in the cache") from cause
    except (HfHubHTTPError, OSError, ValueError) as cause:
        raise ValueError(f"{missing}, and the hub says of {name!r}: {first_line(cause)}") from cause


def first_line(cause: BaseException) -> str:
    """Return the first line of an error, without the advice that libraries append."""
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return lines[0] if lines else type(cause).__name__


def _checked(source: ModelSource) -> ModelSource:
    if not (source.folder / "config.json").is_file():
        raise ValueError(f"{source.folder}: there is no config.json in it")
    if not any(source.folder.glob("*.safetensors")):
        others = [file.name for file in sorted(source.folder.iterdir()) if file.suffix in _CAN_HOLD_CODE]
        found = f"; {', '.join(others)} can hold code and is not read" if others else ""
        raise ValueError(f"{source.folder}: there are no weights as .safetensors in it{found}")
    return source
