"""Weights are read, never run."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from workers.loading.weights import read_weights

TENSORS = {"a": torch.arange(3.0)}


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("evil-was-here"),)  # type: ignore[return-value]


def test_tensors_come_back_from_every_kind_of_file_that_holds_nothing_else(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "w.safetensors")
    torch.save(TENSORS, tmp_path / "w.pt")
    torch.save({"state_dict": TENSORS, "epoch": 3}, tmp_path / "w.pth")
    for path in tmp_path.iterdir():
        assert torch.equal(read_weights(path)["a"], TENSORS["a"]), path


def test_a_pickle_is_refused_by_name_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(Evil(), tmp_path / "evil.pt")
    (tmp_path / "evil.bin").write_bytes(pickle.dumps(Evil()))
    for name in ("evil.pt", "evil.bin"):
        with pytest.raises(ValueError, match=name):
            read_weights(tmp_path / name)
    assert not (tmp_path / "evil-was-here").exists()


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "w.h5").write_bytes(b"x")
    (tmp_path / "w.safetensors").write_bytes(b"broken")
    torch.save(nn_module := torch.nn.Linear(1, 1).state_dict() | {"n": 3}, tmp_path / "mixed.pt")
    assert nn_module["n"] == 3
    for name, words in (
        ("w.h5", "safetensors"),
        ("w.safetensors", "w.safetensors"),
        ("mixed.pt", "tensors"),
        ("no.pt", "no such"),
    ):
        with pytest.raises(ValueError, match=words):
            read_weights(tmp_path / name)
