"""How many calls one front-end process answers, beside a bare FastAPI endpoint in the same run."""

import io
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import numpy as np
from PIL import Image

from app.cli.single_machine.up import free_port
from bench.firing import get, post_form, rate
from bench.rows import Row
from tests.conftest import Service

_READS = 3000
_CREATIONS = 150
_IMAGE_BYTES = 200_000
_LEAST_READS = 800  # per second; a GPU explains ten to twenty images a second
_LEAST_CREATIONS = 100


def rows(service: Service, rounds: int) -> list[Row]:
    """Measure the service and the bare application in turn; workers stand still, as if on machines of their own."""
    url = service.url
    image = jpeg_of(_IMAGE_BYTES)
    question = {"model": "shapes", "masks": "64", "until": "1", "priority": "batch"}
    with httpx2.Client(base_url=url, timeout=120) as client, bare() as plain:
        answer = client.post("/v1/explanations", files={"image": image}, data=question, headers={"Prefer": "wait=60"})
        reads = [get(answer.json()["links"]["self"])] * _READS
        bare_reads, uploads = [get("/status/x")] * _READS, [post_form("/upload", question, image)] * _CREATIONS
        read = [(rate(url, reads), rate(plain, bare_reads)) for _ in range(rounds)]
        with standing_still(service.worker_ids()):
            created = [(rate(url, creations(question, image, first)), rate(plain, uploads)) for first in range(rounds)]
            others = [(rate(url, others_of(image, question, first)), rate(plain, uploads)) for first in range(rounds)]
    size = f"{len(image) / 1000:.0f} KB JPEG"
    return [
        read_row(read),
        creation_row(created, f"creating explanations of a {size}, 8 connections"),
        creation_row(others, f"the same, another {size} each time"),
    ]


def creations(question: dict[str, str], image: bytes, first: int) -> list[bytes]:
    """Return requests for explanations that do not exist yet."""
    seeds = range(10_000 * (first + 1), 10_000 * (first + 1) + _CREATIONS)
    return [post_form("/v1/explanations", {**question, "seed": str(seed)}, image) for seed in seeds]


def others_of(image: bytes, question: dict[str, str], first: int) -> list[bytes]:
    """Return requests with an image each that nobody has sent before: the same picture with another comment in it."""
    numbers = range(10_000 * (first + 1), 10_000 * (first + 1) + _CREATIONS)
    comments = (b"\xff\xfe\x00\x0a" + f"{number:08d}".encode() for number in numbers)
    return [post_form("/v1/explanations", question, image[:2] + comment + image[2:]) for comment in comments]


def read_row(measured: list[tuple[float, float]]) -> Row:
    ours, theirs = (statistics.median(column) for column in zip(*measured, strict=True))
    what = "status reads per second of one front-end process, 8 connections"
    return Row(what, f"{ours:,.0f} (bare endpoint: {theirs:,.0f})", f">= {_LEAST_READS}", ours >= _LEAST_READS)


def creation_row(measured: list[tuple[float, float]], what: str) -> Row:
    ours, theirs = (statistics.median(column) for column in zip(*measured, strict=True))
    value = f"{ours:.0f} per second (bare endpoint: {theirs:,.0f})"
    return Row(what, value, f">= {_LEAST_CREATIONS}", ours >= _LEAST_CREATIONS)


def jpeg_of(size: int) -> bytes:
    """Return a JPEG of about so many bytes, of a size in pixels that such files have."""
    pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels).resize((1024, 768), Image.Resampling.BICUBIC)
    found = b""
    for quality in range(60, 100):
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality)
        found = buffer.getvalue()
        if len(found) >= size:
            break
    return found


@contextmanager
def standing_still(processes: list[int]) -> Iterator[None]:
    """Stop processes for as long as the block lasts, which must be shorter than they may be silent."""
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


@contextmanager
def bare() -> Iterator[str]:
    """Run the bare application under the same server; give its address."""
    port = free_port("127.0.0.1", 0)
    command = [sys.executable, "-m", "uvicorn", "bench.bare:app", "--port", str(port), "--no-access-log"]
    process = subprocess.Popen([*command, "--log-level", "warning"])
    try:
        transport = httpx2.HTTPTransport(retries=8)
        with httpx2.Client(transport=transport, base_url=f"http://127.0.0.1:{port}") as client:
            client.get("/livez").raise_for_status()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)
