"""Runs every row and writes `bench/RESULTS.md`: `python -m bench [--device cuda] [--quick] [--url URL]`."""

import argparse
import platform
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy
import torch

from bench.rows import Row

RESULTS = Path(__file__).with_name("RESULTS.md")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("--device", default="cpu", help="cpu or cuda; on a GPU only the loop's rows are measured")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=20, help="pictures of the sample-efficiency rows")
    parser.add_argument("--reference", type=int, default=50_000, help="masks of the converged map")
    options = parser.parse_args()
    sections = [("The loop beside the model", lambda: loop_rows(options.device, options.rounds))]
    if options.device == "cpu":
        sections += [
            ("The loop alone, and others", lambda: peer_rows(options.rounds)),
            ("Memory", memory_rows),
            ("The service", lambda: service_rows(options.rounds)),
            ("Masks needed", lambda: efficiency_rows(options.images, options.reference)),
        ]
    write(options.device, sections)


def loop_rows(device: str, rounds: int) -> list[Row]:
    from bench import loop  # noqa: PLC0415 - each section needs other packages

    return loop.rows(torch.device(device), rounds)


def peer_rows(rounds: int) -> list[Row]:
    from bench import peers  # noqa: PLC0415

    return peers.rows(rounds)


def memory_rows() -> list[Row]:
    from bench import memory  # noqa: PLC0415

    return memory.rows()


def service_rows(rounds: int) -> list[Row]:
    from bench import refusals, service  # noqa: PLC0415
    from tests.conftest import SAMPLES, start_service, stop_service  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        running = start_service(Path(folder) / "data", OMP_NUM_THREADS="2")
        try:
            image = (SAMPLES / "star.jpg").read_bytes()
            return [*service.rows(running.url, image, rounds), *refusals.rows(running.url, image)]
        finally:
            stop_service(running)


def efficiency_rows(images: int, reference: int) -> list[Row]:
    from bench import efficiency  # noqa: PLC0415

    return efficiency.rows(efficiency.Effort(images, reference, most=reference))


def write(device: str, sections: list[tuple[str, Callable[[], list[Row]]]]) -> None:
    """Measure section by section, print each as it comes, and write the file; a GPU's rows follow the CPU's."""
    name = (
        torch.cuda.get_device_name()
        if device == "cuda"
        else f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
    )
    lines = [f"## {name}", "", f"{versions()}. Medians of ratios measured in turn in one run.", ""]
    for title, measure in sections:
        lines += [f"### {title}", "", "| what | measured | target | met |", "|---|---|---|---|"]
        for row in measure():
            lines.append(row.markdown())
            sys.stdout.write(row.markdown() + "\n")
            sys.stdout.flush()
        lines.append("")
    path = RESULTS if device == "cpu" else RESULTS.with_name("RESULTS-gpu.md")
    path.write_text("# Results of `make bench`\n\n" + "\n".join(lines))


def versions() -> str:
    """Return the versions of what was measured."""
    found = [f"Python {platform.python_version()}", f"torch {torch.__version__}", f"NumPy {numpy.__version__}"]
    for package in ("rise-serve", "xaitk-saliency"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} not installed")
    return ", ".join(found)


if __name__ == "__main__":
    main()
