"""Measures all sections, or those named, and puts them into `bench/RESULTS.md`.

`python -m bench [--only efficiency ...] [--device cuda]`. Each section says under which conditions it was measured,
and replaces what stood under its heading as soon as it is done.
"""

import argparse
import platform
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy
import torch

from bench.results import write_section
from bench.rows import Row

RESULTS = Path(__file__).with_name("RESULTS.md")
RESULTS_GPU = RESULTS.with_name("RESULTS-gpu.md")


@dataclass(frozen=True)
class Section:
    """One table of the results.

    Attributes:
        title: its heading.
        measure: options of the command line -> its rows.
        devices: kinds of devices on which it is measured unless sections are named.
    """

    title: str
    measure: Callable[[argparse.Namespace], Iterable[Row]]
    devices: tuple[str, ...] = ("cpu",)


def loop_rows(options: argparse.Namespace) -> Iterable[Row]:
    from bench import loop  # noqa: PLC0415 - each section needs other packages

    return loop.rows(torch.device(options.device), options.rounds)


def library_rows(options: argparse.Namespace) -> Iterable[Row]:
    from bench import libraries  # noqa: PLC0415

    return libraries.rows(torch.device(options.device))


def peer_rows(options: argparse.Namespace) -> list[Row]:
    from bench import peers  # noqa: PLC0415

    return peers.rows(options.rounds)


def runtime_rows(options: argparse.Namespace) -> list[Row]:
    from bench import runtimes  # noqa: PLC0415

    return runtimes.rows(options.rounds)


def memory_rows(_: argparse.Namespace) -> list[Row]:
    from bench import memory  # noqa: PLC0415

    return memory.rows()


def service_rows(options: argparse.Namespace) -> list[Row]:
    from bench import refusals, service  # noqa: PLC0415
    from tests.conftest import SAMPLES, start_service, stop_service  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        running = start_service(Path(folder) / "data", OMP_NUM_THREADS="2")
        try:
            image = (SAMPLES / "star.jpg").read_bytes()
            return [*service.rows(running.url, image, options.rounds), *refusals.rows(running.url, image)]
        finally:
            stop_service(running)


def load_rows(options: argparse.Namespace) -> list[Row]:
    from bench import hostility, load  # noqa: PLC0415
    from tests.conftest import start_service, stop_service  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        settings = {"RISE_MAX_QUEUED": "1000000", "RISE_HEARTBEAT_SECONDS": "30", "RISE_BODY_SECONDS": "5"}
        running = start_service(Path(folder) / "data", **settings)
        try:
            return [*load.rows(running, options.rounds), *hostility.rows(running)]
        finally:
            stop_service(running)


def sharing_rows(options: argparse.Namespace) -> list[Row]:
    from bench import recovery, sharing  # noqa: PLC0415

    return [*sharing.rows(options.rounds), *recovery.rows(2)]


def soak_rows(options: argparse.Namespace) -> list[Row]:
    from bench import soak  # noqa: PLC0415

    return soak.rows(options.soak)


def overload_rows(_: argparse.Namespace) -> list[Row]:
    from bench import overload  # noqa: PLC0415

    return overload.rows()


def efficiency_rows(options: argparse.Namespace) -> list[Row]:
    from bench import efficiency  # noqa: PLC0415

    return efficiency.rows(efficiency.Effort(options.images, options.reference, options.most))


def attribution_rows(options: argparse.Namespace) -> Iterable[Row]:
    from bench.attributions import rows  # noqa: PLC0415

    return rows.rows(options.images)


def latency_rows(options: argparse.Namespace) -> Iterable[Row]:
    from bench import latency  # noqa: PLC0415

    return latency.rows(min(options.rounds, 3))


def page_rows(options: argparse.Namespace) -> Iterable[Row]:
    from bench import page  # noqa: PLC0415

    return page.rows(options.rounds)


def survey_rows(options: argparse.Namespace) -> Iterable[Row]:
    from bench import survey  # noqa: PLC0415

    return survey.rows(options.seeds)


def background_rows(options: argparse.Namespace) -> Iterable[Row]:
    from bench import backgrounds  # noqa: PLC0415

    return backgrounds.rows(options.seeds)


def trust_rows(_: argparse.Namespace) -> list[Row]:
    from bench.trust import rows  # noqa: PLC0415

    return rows.rows()


def fill_rows(_: argparse.Namespace) -> Iterable[Row]:
    from bench.fills import rows  # noqa: PLC0415

    return rows.rows()


SECTIONS = {
    "loop": Section("The loop beside the model", loop_rows, ("cpu", "cuda")),
    "libraries": Section("Models of libraries", library_rows, ("cuda",)),
    "peers": Section("The loop alone, and others", peer_rows),
    "runtimes": Section("Runtimes", runtime_rows),
    "memory": Section("Memory", memory_rows),
    "service": Section("The service", service_rows, ("cpu", "cuda")),
    "page": Section("The page", page_rows),
    "load": Section("Load", load_rows),
    "sharing": Section("Several workers", sharing_rows),
    "overload": Section("Overload", overload_rows),
    "soak": Section("Soak", soak_rows),
    "efficiency": Section("Masks needed", efficiency_rows),
    "attributions": Section("The field's best beside ours", attribution_rows),
    "survey": Section("Shortcuts found", survey_rows),
    "backgrounds": Section("Shortcuts through backgrounds found", background_rows),
    "trust": Section("Alarms of the audit", trust_rows),
    "fills": Section("What hides best", fill_rows),
    "latency": Section("From POST to the default map", latency_rows),
}


def main() -> None:
    options = parsed()
    names = options.only or [name for name, section in SECTIONS.items() if options.device in section.devices]
    for name in names:
        section = SECTIONS[name]
        sys.stdout.write(f"{section.title}\n")
        lines = ["| what | measured | target | met |", "|---|---|---|---|"]
        for row in section.measure(options):
            lines.append(row.markdown())
            sys.stdout.write(row.markdown() + "\n")
            sys.stdout.flush()
        body = "\n".join([conditions(options.device), "", *lines])
        path = RESULTS if options.device == "cpu" else RESULTS_GPU
        write_section(path, section.title, body, [each.title for each in SECTIONS.values()])


def parsed() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, help="sections to measure; the others stay as they are")
    parser.add_argument("--device", default="cpu", help="cpu or cuda, where fewer sections are measured")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--soak", type=int, default=2000, help="explanations of the soak rows")
    parser.add_argument("--seeds", type=int, default=20, help="data sets of the survey rows")
    parser.add_argument("--images", type=int, default=20, help="pictures of the sample-efficiency rows")
    parser.add_argument("--reference", type=int, default=50_000, help="masks of the converged map")
    parser.add_argument(
        "--most", type=int, default=20_000, help="masks that an estimator may need, beyond is not tried"
    )
    return parser.parse_args()


def conditions(device: str) -> str:
    """Return on what, and with which versions, a section was measured."""
    threads = torch.get_num_threads()
    name = (
        torch.cuda.get_device_name()
        if device == "cuda"
        else f"{platform.processor() or platform.machine()}, {threads} thread{'s' if threads > 1 else ''}"
    )
    found = [f"Python {platform.python_version()}", f"torch {torch.__version__}", f"NumPy {numpy.__version__}"]
    for package in ("rise-serve", "xaitk-saliency"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} not installed")
    return f"{name}; {', '.join(found)}. Medians over rounds or pictures; ratios within one run."


if __name__ == "__main__":
    main()
