"""MLServer and KServe as PyPI has them, started here: their maps are those of the same arithmetic in this process."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.support.environments import kserve, mlserver
from tests.support.hostile_images import encoded, picture
from tests.support.servers import models
from tests.workers.models.explaining import alike, collection_of, map_by
from workers.blackbox import Classifier, Detections, Detector, Preprocessing

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]  # because the first run installs the servers

PREPROCESSING = Preprocessing(size=(models.SIDE, models.SIDE))
OWN_WORDS = f'options.input = "pixels"\npreprocessing.size = {models.SIDE}'
BINARY = "options.binary = true"


def classifier() -> Classifier:
    """The classifier of the servers, in this process."""
    labels = tuple(str(index) for index in range(models.CLASSES))
    return Classifier(lambda images: torch.from_numpy(models.logits(images.numpy())), labels, PREPROCESSING)


def detector() -> Detector:
    """The detector of the servers, in this process."""

    def forward(images: Tensor) -> Detections:
        boxes, scores = (torch.from_numpy(array) for array in models.proposals(images.numpy()))
        return Detections(boxes, scores, scores.amax(-1))

    return Detector(forward, ("bright", "dark"), PREPROCESSING)


@pytest.fixture(scope="module")
def mlserver_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlserver(tmp_path_factory.mktemp("mlserver")) as url:
        yield url


@pytest.fixture(scope="module")
def kserve_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with kserve(tmp_path_factory.mktemp("kserve")) as url:
        yield url


# Because three boxes do not tell how they are written, nor two scores that add up to 1, whether one is "no object".
DETECTOR_OUTPUTS = 'outputs = { box_format = "xyxy", box_unit = "pixels", background = "none" }'


def check(url: str, name: str, more: str, folder: Path) -> None:
    outputs = DETECTOR_OUTPUTS if name == "detector" else ""
    text = f"""
[local]
loader = "python"
source = "{__name__}:{name}"

[remote]
loader = "open-inference"
source = "{url}/v2/models/{name}"
limits.batch = 16
{outputs}
{more}
"""
    collection = collection_of(folder, text)
    assert [card.state for card in collection.cards()] == ["ready", "ready"], collection.cards()
    image = encoded(picture(64, 48), "PNG")
    fields = {"threshold": 0.1} if name == "detector" else {}
    one, other = (map_by(collection, model, image, folder, **fields) for model in ("local", "remote"))
    assert alike(one, other)


@pytest.mark.parametrize("name", ["classifier", "detector"])
def test_a_model_of_mlserver_has_the_map_of_a_local_one(name: str, mlserver_url: str, tmp_path: Path) -> None:
    check(mlserver_url, name, "", tmp_path)


@pytest.mark.parametrize("more", ["", BINARY], ids=["json", "binary"])
def test_a_classifier_of_kserve_has_the_map_of_a_local_one(more: str, kserve_url: str, tmp_path: Path) -> None:
    check(kserve_url, "classifier", more, tmp_path)


@pytest.mark.parametrize("more", [OWN_WORDS, f"{OWN_WORDS}\n{BINARY}"], ids=["json", "binary"])
def test_a_detector_of_kserve_that_says_nothing_of_itself_is_described_in_the_entry(
    more: str, kserve_url: str, tmp_path: Path
) -> None:
    check(kserve_url, "detector", more, tmp_path)
