"""What is read of a project's label config, and configs that attack whoever reads them."""

import pytest

from app.contract.errors import RiseError
from app.integrations.label_studio.label_config import read_layout
from app.label_studio_format.controls import Control, LabelingConfig

CONFIG = """<View>
  <Header value="What is it?"/>
  <Image name="photo" value="$picture" zoom="true"/>
  <Choices name="class" toName="photo">
    <Choice value="Star"/><Choice value="Gear" predicted_values="cog, ring"/>
  </Choices>
  <View><RectangleLabels name="box" toName="photo"><Label value="Star" alias="st"/></RectangleLabels></View>
  <BrushLabels name="where" toName="photo"><Label value="50 % of saliency"/><Label value="80 %"/></BrushLabels>
  <Text name="note" value="$note"/><TextArea name="words" toName="note"/>
  <Image name="overlay" value="$shown"/>
</View>"""


def read(text: str) -> LabelingConfig:
    return read_layout(text, field="/label_config")


def a_control(*labels: str, **predicted: str) -> Control:
    tags = [f'<Label value="{label}" predicted_values="{predicted.get(label, "")}"/>' for label in labels]
    text = "".join(tags)
    layout = read(f'<View><Image name="i" value="$i"/><BrushLabels name="b" toName="i">{text}</BrushLabels></View>')
    assert layout.brushes is not None
    return layout.brushes


def test_the_controls_of_the_image_are_found_with_their_labels() -> None:
    layout = read(CONFIG)
    assert (layout.image, layout.field, layout.overlay) == ("photo", "picture", "shown")
    assert layout.choices is not None
    assert layout.rectangles is not None
    assert layout.brushes is not None
    assert [layout.choices.name, layout.rectangles.name, layout.brushes.name] == ["class", "box", "where"]
    assert [label.value for label in layout.rectangles.labels] == ["st"]


def test_a_second_image_that_is_not_called_overlay_is_left_alone() -> None:
    assert read(CONFIG.replace('name="overlay"', 'name="before"')).overlay is None
    assert read(CONFIG.replace("$shown", "$picture")).overlay is None


def test_a_class_finds_its_label_by_the_config_then_the_table_then_its_name() -> None:
    choices = read(CONFIG).choices
    assert choices is not None
    assert choices.label_of("star", {}) == "Star"
    assert choices.label_of("RING", {}) == "Gear"
    assert choices.label_of("ring", {"ring": "Star"}) == "Gear"
    assert choices.label_of("n0815", {"n0815": "star"}) == "Star"
    assert choices.label_of("disc", {}) is None
    assert choices.class_of("Gear", ["star", "cog"], {}) == "cog"
    assert choices.class_of("Gear", ["star"], {}) is None


def test_a_level_finds_its_label_by_its_number_then_by_the_class_then_by_the_word_saliency() -> None:
    assert a_control("50 %", "80 %").label_of_level(80, "star", {}) == "80 %"
    assert a_control("core", "150", core="saliency-50").label_of_level(50, "star", {}) == "core"
    assert a_control("Star", "Saliency").label_of_level(50, "star", {}) == "Star"
    assert a_control("Ring", "Saliency").label_of_level(50, "star", {}) == "Saliency"
    assert a_control("Ring").label_of_level(50, "star", {}) is None


BOMB = '<!DOCTYPE v [<!ENTITY a "aaaaaaaaaa">' + "".join(
    f'<!ENTITY {name} "{f"&{before};" * 10}">' for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE = {
    "entities": (BOMB + ']><View><Header value="&i;"/></View>', "no DTD"),
    "a file": ('<!DOCTYPE v [<!ENTITY x SYSTEM "file:///etc/passwd">]><View>&x;</View>', "no DTD"),
    "a DTD elsewhere": ('<!DOCTYPE v SYSTEM "http://127.0.0.1:1/x.dtd"><View/>', "no DTD"),
    "depth": ("<View>" * 100_000, "deep"),
    "depth that ends": ("<View>" * 5_000 + "</View>" * 5_000, "deep"),
    "many tags": ("<View>" + "<Label/>" * 50_000 + "</View>", "tags"),
    "size": ("<View>" + "x" * 2_000_000 + "</View>", "characters"),
    "no XML": ("hello", "syntax error"),
    "nothing": ("", "no element"),
    "an encoding": ('<?xml version="1.0" encoding="utf-16"?><View/>', "encoding"),
    "no encoding": ('<?xml version="1.0" encoding="no-such"?><View/>', "encoding"),
    "half a pair": ("<View>\ud800</View>", "surrogates"),
    "no control": ('<View><Image name="i" value="$i"/></View>', "needs an Image"),
    "no image": ('<View><Text name="t" value="$t"/><Choices name="c" toName="t"/></View>', "needs an Image"),
    "no field": ('<View><Image name="i" value="/x.jpg"/><Choices name="c" toName="i"/></View>', r"as \$image"),
}


@pytest.mark.parametrize(("text", "words"), HOSTILE.values(), ids=HOSTILE)
def test_a_config_that_is_none_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(RiseError, match=words) as found:
        read(text)
    assert found.value.code == "invalid-parameters"
    assert found.value.errors[0].field == "/label_config"
    assert len(found.value.detail) < 300
