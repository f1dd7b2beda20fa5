import json
import pickle
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from torch.export import Dim

from tests.workers.models import archives
from tests.workers.models.archives import Mean, Sum, Trap, save, saved, tampered
from tests.workers.models.explaining import apart, collection_of, entry, explain, loaded, reason_of
from tests.workers.models.exports import FIELDS, classifier_network, detector_network, pictures
from workers.blackbox import Classifier
from workers.demo import shapes
from workers.demo.shape_names import SHAPES

GRAPH, WEIGHTS, SAMPLES = "models/model.json", "data/weights/model_weights_config.json", "data/sample_inputs/model.pt"


@pytest.fixture(scope="module")
def saved_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the demo networks as archives: `c.pt2` (1 to 8 pictures), `four.pt2` (four), `d.pt2` (any)."""
    folder = tmp_path_factory.mktemp("exported")
    eight = Dim("batch", min=1, max=8)
    save(archives.exported(classifier_network(), pictures(96), batch=eight), folder / "c.pt2")
    save(archives.exported(classifier_network(), pictures(96, 4), batch=None), folder / "four.pt2")
    save(archives.exported(detector_network(), pictures(128)), folder / "d.pt2")
    save(archives.exported(Mean(), pictures(8)), folder / "mean.pt2")
    return folder


@pytest.mark.parametrize("file", ["c.pt2", "four.pt2"])
def test_a_classifier_gives_the_map_that_its_module_gives(saved_models: Path, tmp_path: Path, file: str) -> None:
    _, torch_map = explain(tmp_path, entry("python", "workers.demo.shapes:load"))
    record, exported_map = explain(tmp_path, entry("exported", saved_models / file, FIELDS))
    assert record.targets[0].name == "star"
    assert apart(torch_map, exported_map) < 1e-3


def test_a_detector_gives_the_map_that_its_module_gives(saved_models: Path, tmp_path: Path) -> None:
    reference, torch_map = explain(tmp_path, entry("python", "workers.demo.shapes_detector:load"), "several")
    record, exported_map = explain(tmp_path, entry("exported", saved_models / "d.pt2", FIELDS), "several")
    assert record.targets[0].name == reference.targets[0].name
    assert record.targets[0].box == pytest.approx(reference.targets[0].box, abs=1e-2)
    assert apart(torch_map, exported_map) < 1e-3


def test_an_archive_that_describes_itself_needs_no_more_than_its_name(saved_models: Path, tmp_path: Path) -> None:
    statistics = {"mean": [0.5] * 3, "std": [0.25] * 3}
    words = {"task": "classification", "labels": json.dumps(SHAPES), "preprocessing": json.dumps(statistics)}
    save(torch.export.load(saved_models / "c.pt2"), tmp_path / "c.pt2", words)
    black_box = loaded(tmp_path, entry("exported", "c.pt2")).black_box
    assert black_box.labels == SHAPES
    assert black_box.preprocessing == shapes.PREPROCESSING


@pytest.mark.parametrize(("file", "fixed"), [("c.pt2", None), ("four.pt2", 4)])
def test_more_pictures_than_the_archive_takes_are_given_part_by_part(
    saved_models: Path, tmp_path: Path, file: str, fixed: int | None
) -> None:
    black_box = loaded(tmp_path, entry("exported", saved_models / file, FIELDS)).black_box
    assert isinstance(black_box, Classifier)
    assert black_box.fixed_batch == fixed
    images = pictures(96, 19)
    with torch.inference_mode():
        assert torch.allclose(black_box.forward(images), classifier_network()(images), atol=1e-4)


def test_outputs_without_names_are_known_by_their_places(tmp_path: Path) -> None:
    save(archives.exported(Mean(twice=True), pictures(8)), tmp_path / "two.pt2")
    second = loaded(tmp_path, entry("exported", "two.pt2", 'outputs = { scores = "1" }')).black_box
    assert isinstance(second, Classifier)
    assert second.forward(torch.ones(2, 3, 8, 8)).tolist() == [[-1.0] * 3] * 2


def test_half_precision_is_blended_in_half_precision(tmp_path: Path) -> None:
    save(archives.exported(Mean(), pictures(8).half()), tmp_path / "half.pt2")
    assert loaded(tmp_path, entry("exported", "half.pt2")).black_box.dtype == torch.float16


@pytest.mark.skipif(shutil.which("g++") is None, reason="AOTInductor needs a compiler")
@pytest.mark.slow
def test_a_compiled_archive_is_run_where_its_entry_says_that_it_may_be(saved_models: Path, tmp_path: Path) -> None:
    program = archives.exported(Mean(), pictures(8), batch=Dim("batch", min=1, max=64))
    torch._inductor.aoti_compile_and_package(program, package_path=str(tmp_path / "c.pt2"))
    size, allowed = "preprocessing = { size = 8 }\n", "options = { compiled = true, batch = 4 }\n"
    assert "machine code; say compiled = true" in reason_of(tmp_path, entry("exported", "c.pt2", size))
    model = loaded(tmp_path, entry("exported", "c.pt2", size + allowed))
    assert isinstance(model.black_box, Classifier)
    assert model.batch == 4
    images = pictures(8, 6)
    assert torch.allclose(model.black_box.forward(images), images.mean((2, 3)), atol=1e-5)
    assert "holds no machine code" in reason_of(tmp_path, entry("exported", saved_models / "mean.pt2", allowed))


def test_nothing_that_an_archive_holds_is_run(saved_models: Path, tmp_path: Path) -> None:
    mark = tmp_path / "sprung"
    good, trap = saved_models / "c.pt2", saved(Trap(mark))
    code = f"__import__('os').mkdir('{mark}')"
    symbol = b"Symbol('s34', positive=True, integer=True)"
    pickled = (b'"use_pickle": false', b'"use_pickle": true')
    folders = saved_models / "folders.pt2"
    shutil.copy(good, folders)
    with zipfile.ZipFile(folders, "a") as file:
        file.writestr("version", "1.0")
    refused = {
        "is a pickle": tampered(good, tmp_path / "w.pt2", {WEIGHTS: pickled, "data/weights/weight_0": trap}),
        "sample inputs": tampered(good, tmp_path / "s.pt2", {SAMPLES: trap}),
        "no arithmetic": tampered(good, tmp_path / "e.pt2", {GRAPH: (symbol, code.encode())}),
        "Python modules": tampered(
            good, tmp_path / "m.pt2", {GRAPH: (b'"guards_code"', b'"__enum__": 0, "guards_code"')}
        ),
        "several folders": folders,
    }
    for words, path in refused.items():
        assert words in reason_of(tmp_path, entry("exported", path, FIELDS))
    assert not mark.exists()


def test_conditions_that_an_archive_states_as_python_are_not_compiled(saved_models: Path, tmp_path: Path) -> None:
    mark = tmp_path / "sprung"
    guards = (b'"guards_code": []', f"\"guards_code\": [\"__import__('os').mkdir('{mark}')\"]".encode())
    tampered(saved_models / "c.pt2", tmp_path / "g.pt2", {GRAPH: guards})
    assert loaded(tmp_path, entry("exported", "g.pt2", FIELDS)).black_box.labels == SHAPES
    assert not mark.exists()


REFUSED = [
    ("missing.pt2", "", "there is no such file"),
    ("script.pt2", "", "this is TorchScript, which is a pickle and may run code; export it with torch.export"),
    ("tensors.pt2", "", "this is a pickle (torch.save), which may run code"),
    ("pickle.pt2", "", "this is no archive of torch.export (.pt2)"),
    ("truncated.pt2", "", "this is no archive of torch.export (.pt2), or a part of one only"),
    ("other.pt2", "", "this is no archive of torch.export (.pt2)"),
    ("two.pt2", "", "the model takes 2 inputs (images, sizes)"),
    ("mean.pt2", 'labels = ["one"]', "labels: 1 names for the model's 3 classes"),
    ("mean.pt2", "preprocessing = { size = 9 }", "preprocessing.size"),
    ("mean.pt2", 'precision = "bfloat16"', "precision"),
]


@pytest.fixture(scope="module")
def refused(saved_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files that do not load, or not with every entry."""
    folder = tmp_path_factory.mktemp("refused")
    torch.jit.trace(Mean(), pictures(8)).save(folder / "script.pt2")  # type: ignore[no-untyped-call] # torch's
    torch.save({"weight": torch.zeros(3)}, folder / "tensors.pt2")
    (folder / "pickle.pt2").write_bytes(pickle.dumps({"weight": 1}))
    whole = (saved_models / "c.pt2").read_bytes()
    (folder / "truncated.pt2").write_bytes(whole[: len(whole) // 2])
    shutil.copy(saved_models / "mean.pt2", folder / "mean.pt2")
    with zipfile.ZipFile(folder / "other.pt2", "w") as file:
        file.writestr("folder/text", "no model")
    save(archives.exported(Sum(), pictures(8), torch.ones(2, 2)), folder / "two.pt2")
    return folder


@pytest.mark.parametrize(("file", "more", "words"), REFUSED)
def test_a_refusal_says_what_is_wrong(refused: Path, tmp_path: Path, file: str, more: str, words: str) -> None:
    assert words in reason_of(tmp_path, entry("exported", refused / file, more))


def test_a_wrong_option_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"line 4: \[it\] options.threads"):
        collection_of(tmp_path, entry("exported", "c.pt2", "options = { threads = 2 }"))
