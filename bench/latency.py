"""From POST to the finished default map over real HTTP, beside the model's own bare passes in the same run.

Two networks of the size that people use on a CPU: EfficientNet-Lite0 (`imagenet`) with a photograph, and a detector of
YOLOv8n's size (`bench/yolo.py`). A bare pass is the model's alone, at the batch at which it is fastest.
"""

import io
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import torch

from app.contract.images.decoding import decode
from app.contract.schemas import JsonObject
from bench.attributions.photographs import photographs
from bench.rows import Row
from bench.stopwatch import seconds_of
from bench.yolo import SIDE, write_yolo_shaped
from workers.blackbox import BlackBox, Preprocessing
from workers.blackbox.preprocessing import pixels, to_input
from workers.demo import imagenet
from workers.explainer.plan import build_plan
from workers.methods import method
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
        early: pictures that the model is asked for before the masking loop.
        passes: those of the loop and of the evidence.
        loop: seconds that `passes` took the worker.
        bare: seconds of one picture by the model alone, measured before and after.
    """

    seconds: float
    early: int
    passes: int
    loop: float
    bare: float

    @property
    def all_bare(self) -> float:
        """Seconds of all pictures by the model alone."""
        return (self.early + self.passes) * self.bare

    @property
    def service(self) -> float:
        """Seconds outside of loop and evidence that are no passes of the model."""
        return self.seconds - self.loop - self.early * self.bare


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
    early, passes, seconds, bare, share = (
        statistics.median(getattr(each, name) for each in found)
        for name in ("early", "passes", "seconds", "bare", "service")
    )
    ratio = statistics.median(each.loop / (each.passes * each.bare) for each in found)
    excess = statistics.median(each.seconds - _RATIO * each.all_bare for each in found)
    what = {"imagenet": "EfficientNet-Lite0, a photograph", "yolo": "detector of YOLOv8n's size, 320 x 320"}[model]
    yield Row(
        f"POST to finished default map, {what}",
        f"{seconds:.2f} s ({early + passes:,.0f} passes; {bare * 1000:.2f} ms a bare pass at batch {batch}, "
        f"{rounds} rounds)",
        "<= 1.05 times its bare passes + 60 ms",
        excess <= _SHARE,
    )
    yield Row(
        "of which masking loop and evidence, over the bare passes", f"{ratio:.3f}", f"<= {_RATIO}", ratio <= _RATIO
    )
    yield Row(
        "of which the service: neither loop nor evidence nor the model's passes before them",
        f"{share * 1000:.0f} ms; {(share + early * bare) * 1000:.0f} ms with those passes ({early:,.0f})",
        "<= 60 ms",
        share <= _SHARE,
    )


def measured(client: httpx2.Client, model: str, black_box: BlackBox, batch: int, image: bytes, seed: int) -> Explained:
    """Explain once over HTTP, with bare passes before and after, so that both see the same machine."""
    before = bare_pass_seconds(black_box, batch)
    seconds, body = explain(client, model, image, seed)
    after = bare_pass_seconds(black_box, batch)
    progress, evidence = body["progress"], body["provenance"]["evidence_passes"]
    early, reused = early_passes(client, black_box, image, body)
    passes = progress["masks"] - reused + evidence
    return Explained(seconds, early, passes, progress["masks"] / progress["masks_per_second"], (before + after) / 2)


def explain(client: httpx2.Client, model: str, image: bytes, seed: int, **options: object) -> tuple[float, JsonObject]:
    """Return the seconds from POST to the fetched map, and the finished explanation.

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
    return time.perf_counter() - started, body


def early_passes(client: httpx2.Client, black_box: BlackBox, image: bytes, explanation: JsonObject) -> tuple[int, int]:
    """Return the pictures that the plan of an explanation asks for, and how many are masked images of its first block.

    The time of the loop, which the service tells as masks per second, begins after them and ends with the evidence.
    """
    asked: list[int] = []

    def counted(images: torch.Tensor) -> Any:
        asked.append(len(images))
        return black_box.forward(images)

    cards = client.get("/v1/models").json()
    batch = next(card["batch"] for card in cards if card["id"] == explanation["model"]["id"])
    plugin = method(explanation["method"])
    parameters = plugin.Parameters.model_validate(explanation["parameters"])
    watched = replace(black_box, forward=counted)  # type: ignore[arg-type] # outputs are those of its own kind
    plan = build_plan(watched, decode(image), plugin, parameters, None, batch=batch)
    return sum(asked), len(plan.pilot.scores) if plan.pilot else 0


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
