"""A predictor of KServe as PyPI has it, explained by `rise-serve kserve`, and asked by KServe's own client."""

import base64
import io
import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import binary_fill_holes

from bench.demo_training.batches import Recipe, draw_held_out_pictures
from bench.demo_training.pictures import draw_one_object
from tests.support.environments import SERVERS, environment, kserve
from tests.support.kserve_process import explainer
from tests.support.servers import shapes
from tests.workers.models.served_shapes import CLASSIFIER, LABELS, PREPROCESSING

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # because the first run installs KServe


@dataclass(frozen=True)
class InferenceService:
    """A predictor with its explainer.

    Attributes:
        name: of both.
        url: of the explainer.
        predictor: stops the predictor when it is closed.
        folder: for bodies.
    """

    name: str
    url: str
    predictor: ExitStack
    folder: Path

    def explain(self, *instances: Any, name: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Return what KServe's client gets."""
        body = self.folder / "body.json"
        body.write_text(json.dumps({"instances": instances, "parameters": parameters}))
        python = environment("kserve") / "bin" / "python"
        command = [str(python), str(SERVERS / "kserve_client.py"), self.url, name or self.name, str(body)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@pytest.fixture(scope="module", params=["shapes", "shapes-v1"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InferenceService]:
    """One service whose predictor speaks v2 and says what it takes, and one whose predictor speaks v1 alone."""
    folder, name = tmp_path_factory.mktemp("kserve"), request.param
    size = f"size = {shapes.SIDE}, " if name == "shapes-v1" else ""
    models = folder / "models.toml"
    preprocessing = PREPROCESSING.replace("{ ", "{ " + size)
    models.write_text(f"[{name}]\nlabels = {LABELS}\nlimits = {{ batch = 16 }}\n{preprocessing}\n")
    with ExitStack() as predictor:
        address = predictor.enter_context(kserve(folder))
        host = address.removeprefix("http://")
        named = ["--model_name", name, "--predictor_host", host, "--predictor_request_retries", "1"]
        with explainer(folder, *named, "--workers", "1", "--models", str(models)) as url:
            yield InferenceService(name, url, predictor, folder)


def drawn() -> tuple[bytes, np.ndarray[Any, Any]]:
    """Return a picture that training never saw, and where its shape lies."""
    (picture,) = draw_held_out_pictures(Recipe(draw_one_object, side=96), 1, seed=5)
    buffer = io.BytesIO()
    Image.fromarray(picture.image).save(buffer, "PNG")
    return buffer.getvalue(), binary_fill_holes(picture.objects[0].mask)


def b64(content: bytes) -> dict[str, dict[str, str]]:
    return {"image": {"b64": base64.b64encode(content).decode()}}


def test_the_predictor_computes_what_the_shipped_model_does() -> None:
    pictures = torch.rand(2, 3, shapes.SIDE, shapes.SIDE, generator=torch.Generator().manual_seed(1)) * 4 - 2
    with torch.inference_mode():
        ours = CLASSIFIER.forward(pictures).numpy()
    assert np.allclose(shapes.logits(shapes.read_weights(), pictures.numpy()), ours, atol=1e-3)


def test_kserves_client_gets_a_map_that_lies_on_the_shape(service: InferenceService) -> None:
    picture, inside = drawn()
    found = service.explain(b64(picture), masks=512, max_side=96)
    assert found["ready"] is True
    (explanation,) = found["explanations"]
    target = explanation["targets"][0]
    values = np.array(target["map"])
    assert inside[np.unravel_index(values.argmax(), values.shape)]
    assert inside[int(target["peak"][1]), int(target["peak"][0])]
    assert target["name"] in LABELS
    assert values[inside].mean() > 4 * abs(values[~inside].mean())


def test_kserves_client_reads_our_errors(service: InferenceService) -> None:
    assert "there is no model 'nobody'" in service.explain([[2]], name="nobody")["raised"]
    broken = service.explain(b64(b"no picture"))["raised"]
    assert "instances/0: the image cannot be read" in broken
    assert "422" in broken


def test_a_predictor_that_is_away_is_named(service: InferenceService) -> None:
    service.predictor.close()
    raised = service.explain([[2, 3], [4, 5]])["raised"]
    assert "502" in raised
    assert f"/models/{service.name}" in raised
    assert "cannot be reached" in raised
