"""Heat maps in a real FiftyOne, with its own database, in an environment of its own."""

import json
import subprocess
from pathlib import Path
from typing import Any

import fastapi
import numpy as np
import pytest
from PIL import Image

from rise_client import Client
from tests.app.integrations.test_label_studio import STAR
from tests.conftest import SAMPLES, Service
from tests.support.annotated_pictures import coco_of, draw_pictures, encoded, files_of
from tests.support.environments import ROOT, environment

pytestmark = pytest.mark.slow

NAMES = ("star.jpg", "ring.jpg", "none.jpg")


@pytest.fixture(scope="module")
def found(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What FiftyOne has of two pictures and of one that is none, and of a survey of annotated ones."""
    folder = tmp_path_factory.mktemp("fiftyone")
    (folder / "none.jpg").write_text("no picture")
    pictures = [str(SAMPLES / name) for name in NAMES[:2]] + [str(folder / "none.jpg")]
    packages = [str(ROOT), str(Path(fastapi.__file__).parents[1])]
    asked = {"url": service.url, "pictures": pictures, "folder": str(folder / "maps"), "packages": packages}
    asked |= _annotated(folder)
    home = {"HOME": str(folder), "FIFTYONE_DO_NOT_TRACK": "true", "FIFTYONE_DATABASE_DIR": str(folder / "db")}
    python = environment("fiftyone") / "bin" / "python"
    done = subprocess.run(
        [str(python), str(Path(__file__).resolve().parents[1] / "support" / "fiftyone_script.py")],
        input=json.dumps(asked),
        env={"PATH": f"{python.parent}:/usr/bin:/bin", **home},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    if "could not be installed on your system" in done.stderr:
        pytest.skip("FiftyOne has no mongod for this system")
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def _annotated(folder: Path) -> dict[str, Any]:
    """Write drawn pictures, the last ten of which are stars with the mark, and their annotations."""
    pictures = draw_pictures(marked=10, unmarked=2, others=6, seed=4)[::-1]
    paths = [folder / f"{number:03d}.png" for number in range(len(pictures))]
    for path, (_, content) in zip(paths, files_of(pictures), strict=True):
        path.write_bytes(content)
    (folder / "coco.json").write_bytes(encoded(coco_of(pictures)))
    return {"annotated": [str(path) for path in paths[::-1]], "annotations": str(folder / "coco.json")}


def test_every_sample_of_a_survey_has_its_figures_and_suspicious_ones_are_a_saved_view(found: Any) -> None:
    survey = found["survey"]
    assert "lower left corner" in survey["sentences"][0]
    suspicious = {name: inside for name, inside, _, is_suspicious, _ in survey["samples"] if is_suspicious}
    assert len(suspicious) >= 8
    assert {Path(name).name for name in suspicious} <= {f"{number:03d}.png" for number in range(8, 18)}
    assert survey["view"] == sorted(suspicious, key=lambda name: suspicious[name])
    assert {where for *_, is_suspicious, where in survey["samples"] if is_suspicious} == {"lower left corner"}
    assert all(0 <= background <= 1 for _, _, background, *_ in survey["samples"] if background is not None)


def test_every_sample_has_a_heat_map_that_is_strongest_on_the_object(found: Any) -> None:
    assert found["kind"] == "Heatmap"
    star = found["samples"][0]["saliency"]
    assert (star["label"], star["dtype"], star["shape"]) == ("star", "uint16", [360, 480])
    (column, row), radius = STAR
    assert np.hypot(star["peak"][1] - column, star["peak"][0] - row) < radius
    assert star["score"] > 0.9
    assert 0 < star["reliability"] <= 1
    assert found["sure"] == 2


def test_black_is_no_effect_and_white_the_strongest(service: Service, found: Any) -> None:
    star = found["samples"][0]["saliency"]
    assert (star["low"], star["high"], star["range"]) == (0, 65_535, None)
    with Client(service.url) as client:
        values = client.explanation(star["explanation"]).map
    assert star["strongest"] == pytest.approx(float(values.max()))
    pixels = np.asarray(Image.open(star["path"])).astype(np.float64)
    assert np.abs(pixels / 65_535 * values.max() - np.clip(values, 0, None)).max() < values.max() / 60_000


def test_a_second_target_has_a_field_of_its_own_and_what_is_no_picture_has_a_reason(found: Any) -> None:
    first, second, none = found["samples"]
    assert first["saliency_2"]["label"] != first["saliency"]["label"]
    assert second["saliency"]["label"] == "ring"
    assert "saliency" not in none
    assert "image" in none["error"]
