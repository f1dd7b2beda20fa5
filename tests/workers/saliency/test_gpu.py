"""What only a GPU can show; skipped where there is none."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from tests.conftest import SAMPLES, Service, start_service, stop_service
from tests.support.api_requests import explain
from tests.support.black_boxes import draw_blocks
from workers.blackbox import BlackBox
from workers.explainer.plan import ExplanationPlan, build_plan
from workers.methods import method
from workers.model_io.model_entry import ModelEntry
from workers.models import load_model

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

GPU, CPU = torch.device("cuda"), torch.device("cpu")
STAR, SEVERAL = SAMPLES / "star.jpg", SAMPLES / "several.jpg"
DEMO = {"rise": ("shapes", STAR), "mc-rise": ("shapes", STAR), "drise": ("shapes_detector", SEVERAL)}
ROOM_SHARE = 0.2  # of a GPU's free memory that a greedy model takes for each picture


def demo(name: str, device: torch.device) -> BlackBox:
    entry = ModelEntry(loader="python", source=f"workers.demo.{name}:load")
    return load_model(entry, folder=Path(), device=device)


def study_on(device: torch.device, method_name: str = "rise", *, batch: int = 32, **parameters: Any) -> ExplanationPlan:
    name, path = DEMO[method_name]
    plugin = method(method_name)
    chosen = plugin.Parameters(until=1, **{"masks": 1024, **parameters})
    with Image.open(path) as image:
        return build_plan(demo(name, device), image.convert("RGB"), plugin, chosen, "top:2", batch=batch)


def drawn(study: ExplanationPlan) -> NDArray[np.float32]:
    image = Image.new("RGB", (study.problem.canvas.width, study.problem.canvas.height))
    return draw_blocks(study, list(study.run()), image, study.resolved.target_rows[0]).values


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    """Convolutions in float32 and not in TF32, so that a GPU can be compared with a CPU."""
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize("canvas", ["model", "image"])
@pytest.mark.parametrize("estimator", ["contrast", "paper"])
@pytest.mark.parametrize("name", DEMO)
def test_a_map_is_the_same_on_a_gpu_as_on_a_cpu(name: str, estimator: str, canvas: str) -> None:
    if (name, estimator) == ("mc-rise", "paper"):
        pytest.skip("not a published estimator")
    options: dict[str, Any] = {"estimator": estimator, "canvas": canvas, "masks": 512}
    here, there = (drawn(study_on(device, name, **options)) for device in (CPU, GPU))
    assert np.abs(here - there).max() < 1e-4 * np.abs(here).max() + 1e-6


def test_nothing_waits_for_the_device_inside_a_block() -> None:
    pipeline = study_on(GPU, batch=64).pipeline()
    pipeline.block(0)
    try:
        torch.cuda.set_sync_debug_mode("error")
        for number in range(1, 4):
            assert pipeline.block(number).index == number
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_blocks_in_any_order_are_the_blocks_of_an_undisturbed_run() -> None:
    study = study_on(GPU, keep=0.4)
    whole = {block.index: block.effects for block in study.run()}
    pipeline = study.pipeline()
    for number in (3, 4, 1, 2, 0, 0, study.blocks - 1):
        assert np.allclose(pipeline.block(number).effects, whole[number], atol=1e-6)


def test_where_the_memory_of_a_gpu_runs_out_the_batch_is_halved_and_the_map_is_the_same() -> None:
    study, seen = study_on(GPU, batch=32), []
    free, _ = torch.cuda.mem_get_info()

    def greedy(masked: Tensor) -> Tensor:
        torch.empty(int(len(masked) * ROOM_SHARE * free), dtype=torch.uint8, device=GPU)
        seen.append(len(masked))
        return study.problem.score(masked)

    halved: list[int] = []
    small = replace(study, problem=replace(study.problem, score=greedy)).pipeline(when_halved=lambda: halved.append(1))
    whole, blocks = list(study.run()), [small.block(number) for number in range(study.blocks)]
    torch.cuda.empty_cache()
    assert (len(halved), max(seen)) == (3, 4)
    assert all(np.allclose(a.effects, b.effects, atol=1e-6) for a, b in zip(whole, blocks, strict=True))


ASSERT = "torch.zeros(2, device='cuda')[torch.tensor([5], device='cuda')]"
OUTSIDE = (
    "torch.cuda.jiterator._create_jit_fn('template <typename T> T f(T x) { return *(T*)8; }')(torch.ones(4).cuda())"
)
PROGRAM = """
import torch
from workers.supervision.failures import breaks_device
try:
    {cause}
    torch.cuda.synchronize()
except Exception as error:
    print(type(error).__name__, getattr(error, "error_code", None), breaks_device(error), error)
try:
    torch.ones(2, device="cuda").sum().item()
    print("the device goes on")
except Exception as error:
    print("the device is gone:", breaks_device(error))
"""


def after(cause: str) -> str:
    """Return what a process of its own has to say about an error."""
    command = [sys.executable, "-c", PROGRAM.format(cause=cause)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("cause", [ASSERT, OUTSIDE], ids=["a device-side assert", "an address that is none"])
def test_an_error_that_ends_the_process_s_use_of_the_device_is_known_for_one(cause: str) -> None:
    said = after(cause)
    assert re.match(r"\w+ \d+ True ", said), said
    assert "the device is gone: True" in said


@pytest.mark.parametrize(
    "cause",
    [
        "torch.empty(2**60, dtype=torch.uint8, device='cuda')",
        "torch.ones(2, device='cuda') @ torch.ones(3, device='cuda')",
    ],
    ids=["too little memory", "shapes that do not fit"],
)
def test_an_error_that_breaks_nothing_is_not_taken_for_one(cause: str) -> None:
    said = after(cause)
    assert re.match(r"\w+ \w+ False ", said), said
    assert "the device goes on" in said


@pytest.fixture(scope="module")
def on_gpu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("gpu")
    (folder / "models.toml").write_text(
        '[shapes]\nloader = "python"\nsource = "workers.demo.shapes:load"\n'
        '[broken]\nloader = "python"\nsource = "tests.support.gpu_breaking_model:load"\nlimits.batch = 32\n'
    )
    service = start_service(folder / "data", RISE_MODELS=str(folder / "models.toml"), RISE_DEVICE="cuda")
    yield service
    stop_service(service)


def test_the_whole_service_explains_on_a_gpu_and_outlives_a_model_that_breaks_it(on_gpu: Service) -> None:
    image = STAR.read_bytes()
    with httpx2.Client(base_url=on_gpu.url, timeout=120) as http:
        body = explain(http, image, model="shapes", masks=1024, until=1).json()
        assert body["status"] == "succeeded", body
        assert body["provenance"]["device"] == torch.cuda.get_device_name()
        broken = explain(http, image, model="broken", masks=1024, until=1).json()
        assert broken["status"] == "failed"
        assert "the device broke under model 'broken'" in broken["error"]["detail"]
        again = explain(http, image, model="shapes", masks=1024, until=1, seed=2).json()
        assert again["status"] == "succeeded", again
