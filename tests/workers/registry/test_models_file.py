"""The models file says what is wrong, where, and what is allowed."""

from pathlib import Path

import pytest

from workers.model_io.model_entry import ModelEntry
from workers.registry.models_file import line_of, read_models_file


def read(tmp_path: Path, text: str) -> dict[str, ModelEntry]:
    path = tmp_path / "models.toml"
    path.write_text(text)
    return read_models_file(path)


def complaint(tmp_path: Path, text: str) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - its words are looked at by the caller
        read(tmp_path, text)
    return str(caught.value)


SHAPES = '[shapes]\nloader = "python"\nsource = "workers.demo.shapes:load"\n'


def test_an_entry_needs_nothing_but_a_loader_and_a_source(tmp_path: Path) -> None:
    assert read(tmp_path, SHAPES)["shapes"].loader == "python"


def test_a_loader_may_be_written_with_underscores() -> None:
    entry = ModelEntry(loader="open_inference", source="x")
    assert entry.loader == "open-inference"


def test_a_misspelt_field_is_named_with_its_line_and_the_choices(tmp_path: Path) -> None:
    words = complaint(tmp_path, SHAPES + '\n[other]\nloader = "python"\nsource = "a:b"\nprecission = "float16"\n')
    assert "line 8: [other] precission" in words
    assert "precision" in words.partition("choose from")[2]


def test_a_misspelt_field_of_an_inner_table_is_named_with_its_choices(tmp_path: Path) -> None:
    words = complaint(tmp_path, SHAPES + "[shapes.preprocessing]\nheight = 3\n")
    assert "line 5: [shapes] preprocessing.height" in words
    assert "size, resize, shortest_side" in words


def test_a_wrong_value_is_named_with_its_line_and_what_is_allowed(tmp_path: Path) -> None:
    words = complaint(tmp_path, SHAPES + 'precision = "int8"\n')
    assert "line 4: [shapes] precision" in words
    assert "'float32', 'float16' or 'bfloat16'" in words


def test_a_loader_that_does_not_exist_is_named_with_those_that_do(tmp_path: Path) -> None:
    words = complaint(tmp_path, '[shapes]\nloader = "pickle"\nsource = "x"\n')
    assert "line 2: [shapes] loader" in words
    assert "python" in words


def test_options_that_a_loader_does_not_have_are_refused(tmp_path: Path) -> None:
    words = complaint(tmp_path, SHAPES + "[shapes.options]\nspeed = 3\n")
    assert "line 5: [shapes] options.speed" in words


def test_an_id_with_other_characters_is_refused(tmp_path: Path) -> None:
    assert "line 1" in complaint(tmp_path, '["a b"]\nloader = "python"\nsource = "x"\n')


def test_a_file_that_is_no_toml_or_not_there_is_refused_by_name(tmp_path: Path) -> None:
    assert "models.toml" in complaint(tmp_path, "[shapes\n")
    with pytest.raises(ValueError, match=r"missing\.toml"):
        read_models_file(tmp_path / "missing.toml")


def test_lines_are_found_through_dotted_keys_and_quoted_names() -> None:
    text = '\n["a-b"]\nloader = "x"\noutputs.scores = "s"\n\n[c.limits]\nbatch = 2\n'
    assert line_of(text, ("a-b", "outputs", "scores")) == 4
    assert line_of(text, ("c", "limits", "batch")) == 7
    assert line_of(text, ("a-b", "missing")) == 2
