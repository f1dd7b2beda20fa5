"""From POST to the finished default map over real HTTP, beside the model's own bare passes in the same run.

Two networks of the size that people use on a CPU: EfficientNet-Lite0 (`imagenet`) with a photograph, and a detector of
YOLOv8n's size (`bench/yolo.py`). A bare pass is the model's alone, at the batch at which it is fastest.
"""

import io
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx2
import torch

from bench.attributions.photographs import photographs
from bench.rows import Row
from bench.stopwatch import seconds_of
from bench.yolo import SIDE, write_yolo_shaped
from workers.blackbox import BlackBox, Preprocessing
from workers.blackbox.preprocessing import pixels, to_input
from workers.demo import imagenet
from workers.model_io.model_entry import ModelEntry
from workers.models import load_model

_CPU, _THREADS = torch.device("cpu"), 2
_PHOTOGRAPH = "coffee"
_BATCHES = (1, 4, 8, 16)
_BARE_PASSES = 96  # of one measurement
_RATIO, _SHARE = 1.05, 0.06  # seconds over bare passes, and what the service may take beside
_MODELS = """
[shapes]
loader = "python"
source = "workers.demo.shapes:load"

[imagenet]
loader = "python"
source = "workers.demo.imagenet:load"

[yolo]
loader = "onnx"
source = "yolo.onnx"
"""


@dataclass(frozen=True)
class Explained:
    """One explanation over HTTP.

    Attributes:
        seconds: from POST to the fetched map.
        passes: masked images, and those of the evidence.
        loop: seconds that they took the worker.
        bare: seconds that the model alone takes for as many pictures, measured right after.
    """

    seconds: float
    passes: int
    loop: float
    bare: float


def rows(rounds: int) -> Iterator[Row]:
    """Yield passes, seconds, ratio and the service's share of a default explanation of both models."""
    from tests.conftest import start_service, stop_service, wait_for_models  # noqa: PLC0415 - it sets threads to one

    torch.set_num_threads(_THREADS)
    photograph = photographs(2)[_PHOTOGRAPH]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "models.toml").write_text(_MODELS)
        shown = to_input(pixels(photograph)[None], Preprocessing((SIDE, SIDE), resize="letterbox"))[0]
        write_yolo_shaped(folder / "yolo.onnx", shown)
        settings = {"RISE_MODELS": str(folder / "models.toml"), "OMP_NUM_THREADS": str(_THREADS)}
        running = start_service(folder / "data", **settings)
        try:
            wait_for_models(running)
            yolo = load_model(ModelEntry(loader="onnx", source="yolo.onnx"), folder=folder, device=_CPU)
            content = io.BytesIO()
            photograph.save(content, "PNG")
            yield from model_rows(running.url, "imagenet", imagenet.load(_CPU), content.getvalue(), rounds)
            yield from model_rows(running.url, "yolo", yolo, content.getvalue(), min(rounds, 2))
        finally:
            stop_service(running)


def model_rows(url: str, model: str, black_box: BlackBox, image: bytes, rounds: int) -> Iterator[Row]:
    """Yield the rows of one model."""
    batch = fastest_batch(black_box)
    with httpx2.Client(base_url=url, timeout=300) as client:
        explain(client, model, image, 0, masks=1)  # because the first one finds cold caches
        found = [measured(client, model, black_box, batch, image, seed) for seed in range(1, rounds + 1)]
    passes, seconds = (statistics.median(getattr(each, name) for each in found) for name in ("passes", "seconds"))
    ratio = statistics.median(each.loop / each.bare for each in found)
    share = statistics.median(each.seconds - each.loop for each in found)
    bare = statistics.median(each.bare / each.passes for each in found)
    excess = statistics.median(each.seconds - _RATIO * each.bare for each in found)
    what = {"imagenet": "EfficientNet-Lite0, a photograph", "yolo": "detector of YOLOv8n's size, 320 x 320"}[model]
    yield Row(
        f"POST to finished default map, {what}",
        f"{seconds:.2f} s ({passes:,.0f} passes; {bare * 1000:.2f} ms a bare pass at batch {batch}, {rounds} rounds)",
        "<= 1.05 times its bare passes + 60 ms",
        excess <= _SHARE,
    )
    yield Row(
        "of which masking loop and evidence, over the bare passes", f"{ratio:.3f}", f"<= {_RATIO}", ratio <= _RATIO
    )
    yield Row("of which the service", f"{share * 1000:.0f} ms", "<= 60 ms", share <= _SHARE)


def measured(client: httpx2.Client, model: str, black_box: BlackBox, batch: int, image: bytes, seed: int) -> Explained:
    """Explain once over HTTP, with bare passes before and after, so that both see the same machine."""
    before = bare_pass_seconds(black_box, batch)
    seconds, passes, loop = explain(client, model, image, seed)
    after = bare_pass_seconds(black_box, batch)
    return Explained(seconds, passes, loop, passes * (before + after) / 2)


def explain(client: httpx2.Client, model: str, image: bytes, seed: int, **options: object) -> tuple[float, int, float]:
    """Return the seconds from POST to the fetched map, the passes, and the loop's seconds.

    Args:
        client: of the service.
        model: its id.
        image: encoded.
        seed: so that no explanation is another's.
        options: of the request, beside the default settings.
    """
    form = {"model": model, "seed": str(seed), **{name: str(value) for name, value in options.items()}}
    started = time.perf_counter()
    body = client.post("/v1/explanations", files={"image": image}, data=form, headers={"Prefer": "wait=60"}).json()
    while body["status"] in {"queued", "running"}:
        body = client.get(f"/v1/explanations/{body['id']}", params={"wait": 60}).json()
    client.get(body["targets"][0]["links"]["npy"]).raise_for_status()
    seconds = time.perf_counter() - started
    masks = body["progress"]["masks"]
    return seconds, masks + body["provenance"]["evidence_passes"], masks / body["progress"]["masks_per_second"]


def fastest_batch(black_box: BlackBox) -> int:
    """Return the batch at which a bare pass takes least."""
    measured = seconds_of(
        {str(batch): partial(bare_pass_seconds, black_box, batch, passes=16) for batch in _BATCHES},
        rounds=3,
        warm_up=(),
    )
    return min(_BATCHES, key=lambda batch: min(measured[str(batch)]))


def bare_pass_seconds(black_box: BlackBox, batch: int, *, passes: int = _BARE_PASSES) -> float:
    """Return the seconds of one pass of the model alone for one picture."""
    size = black_box.preprocessing.size
    assert size is not None
    images = torch.rand(batch, 3, *size)
    with torch.inference_mode():
        black_box.forward(images)
        started = time.perf_counter()
        for _ in range(passes // batch):
            black_box.forward(images)
    return (time.perf_counter() - started) / (passes // batch * batch)
