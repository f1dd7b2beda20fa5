"""Scanner of `.pt2` archives of torch: refuses what may run code while torch reads the archive.

`torch.export.load` (torch 2.13) has no `weights_only`: it unpickles weights and constants that the archive marks
as pickles, constants that are objects, older formats, and the sample inputs where reading them with
`weights_only=True` fails; it hands the text of symbolic sizes to SymPy, which evaluates it; and the shape of arguments
may name Python modules to import. An archive that `torch.export.save` writes of a model of tensors has none of these.
"""

import ast
import io
import json
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

_CODE = "data/aotinductor/"
_EXTRA = "extra/"
_PICKLED = (".pt", ".pkl", ".pickle")
_SAMPLES = "data/sample_inputs/"
_TENSORS = ("weight_", "tensor_")
_NAME = re.compile(r"[A-Za-z_]\w*")
_ARITHMETIC = (
    ast.Expression | ast.BinOp | ast.UnaryOp | ast.BoolOp | ast.Compare | ast.operator | ast.unaryop | ast.boolop
    | ast.cmpop | ast.keyword | ast.Name | ast.Load
)  # fmt: skip


@dataclass(frozen=True)
class Archive:
    """An archive that was scanned.

    Attributes:
        path: of the file.
        compiled: whether it holds machine code (AOTInductor) in place of a graph.
        metadata: its extra files, by their names.
    """

    path: Path
    compiled: bool
    metadata: Mapping[str, str]


def scan_archive(path: Path) -> Archive:
    """Return what an archive holds, if nothing in it runs code while it is read.

    Machine code is not scanned: a compiled archive is trusted as a program.

    Raises:
        ValueError: naming what may run code, or what kind of file this is instead.
    """
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    try:
        with zipfile.ZipFile(path) as file:
            members = _members(file)
            _check_format(members)
            compiled = any(name.startswith(_CODE) for name in members)
            if not compiled:
                _check_members(members)
            extra = {name.removeprefix(_EXTRA): members[name].decode() for name in members if name.startswith(_EXTRA)}
    except zipfile.BadZipFile as cause:
        raise ValueError(f"{path}: this is no archive of torch.export (.pt2), or a part of one only") from cause
    except ValueError as cause:
        raise ValueError(f"{path}: {cause}") from cause
    return Archive(path, compiled, extra)


class _Members(Mapping[str, bytes]):
    """The members of an archive by their names below its folder, read when they are asked for."""

    def __init__(self, file: zipfile.ZipFile, folder: str, names: list[str]) -> None:
        self._file = file
        self._folder = folder
        self._names = names

    def __getitem__(self, name: str) -> bytes:
        return self._file.read(f"{self._folder}/{name}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _members(file: zipfile.ZipFile) -> _Members:
    """Return the members, if every reader of the file sees the same ones."""
    names = file.namelist()
    folder = names[0].partition("/")[0] if names else ""
    alike = {name.lower() for name in names}  # because torch reads names without regard to case
    if len(alike) < len(names) or any(not name.startswith(f"{folder}/") for name in names):
        raise ValueError(
            "its members stand in it twice or lie in several folders, as no archive of torch.export has it"
        )
    return _Members(file, folder, [name.removeprefix(f"{folder}/") for name in names])


def _check_format(members: _Members) -> None:
    if "archive_format" in members and members["archive_format"] == b"pt2":
        return
    if any(name.startswith("code/") for name in members) or "constants.pkl" in members:
        raise ValueError("this is TorchScript, which is a pickle and may run code; export it with torch.export")
    if "data.pkl" in members:
        raise ValueError("this is a pickle (torch.save), which may run code; export the model with torch.export")
    raise ValueError("this is no archive of torch.export (.pt2)")


def _check_members(members: _Members) -> None:
    for name in members:
        if name.startswith(_SAMPLES):
            _check_samples(members[name])
        elif name.endswith(_PICKLED):
            raise ValueError(f"{name} is a pickle, which may run code; save the archive again with this torch")
        elif name.endswith("_config.json"):
            _check_payloads(name, json.loads(members[name]))
        elif name.startswith("models/"):
            _check_graph(members[name])


def _check_samples(content: bytes) -> None:
    """Check that the sample inputs are tensors, because torch would otherwise unpickle them without restrictions."""
    if not content:
        return
    try:
        torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as cause:
        raise ValueError("its sample inputs are more than tensors, and might run code") from cause


def _check_payloads(name: str, content: Any) -> None:
    for key, payload in content["config"].items():
        if payload["use_pickle"] or not payload["path_name"].startswith(_TENSORS):
            raise ValueError(f"{name}: {key} is a pickle, which may run code")


def _check_graph(content: bytes) -> None:
    if b"__enum__" in content or b"default_factory" in content:
        raise ValueError("its arguments name Python modules to import")
    for text in _expressions(json.loads(content)):
        if not _is_arithmetic(text):
            raise ValueError(f"a size in it is no arithmetic, and might run code: {text[:80]!r}")


def _expressions(node: Any) -> Iterator[str]:
    """Yield the text of every symbolic size in a graph."""
    if isinstance(node, dict):
        if "expr_str" in node:
            yield str(node["expr_str"])
        node = list(node.values())
    if isinstance(node, list):
        for part in node:
            yield from _expressions(part)


def _is_arithmetic(text: str) -> bool:
    """Return whether a size is made of numbers, symbols and functions of SymPy, whose names are capitalised."""
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(_is_harmless(node) for node in nodes)


def _is_harmless(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id[0].isupper()
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float) or (
            isinstance(node.value, str) and bool(_NAME.fullmatch(node.value))
        )
    return isinstance(node, _ARITHMETIC)
