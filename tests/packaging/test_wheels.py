"""Both wheels, built as anybody builds them, installed each alone in an empty environment elsewhere, and used there."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import Parser
from pathlib import Path

import fastapi
import httpx2
import numpy as np
import pytest

from tests.conftest import SAMPLES
from tests.support.environments import ROOT, SECONDS_TO_INSTALL, free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3 * SECONDS_TO_INSTALL)]

_ORDINARY = {name: value for name, value in os.environ.items() if not name.startswith(("RISE_", "REDIS", "PYTHON"))}
_CLIENT_NEEDS = {"httpx2", "numpy", "pillow", "pydantic"}
_SERVICE_ONLY = {"fastapi", "starlette", "redis", "rq", "torch", "rise-serve"}


def run(*command: str | Path, cwd: Path, **settings: str) -> str:
    """Run a command and return what it writes; skip where packages cannot be fetched."""
    words = [str(word) for word in command]
    try:
        found = subprocess.run(
            words,
            cwd=cwd,
            env={**_ORDINARY, **settings},
            capture_output=True,
            text=True,
            timeout=SECONDS_TO_INSTALL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"not done within {SECONDS_TO_INSTALL} s: {' '.join(words)}")
    if "No matching distribution" in found.stderr or "NewConnectionError" in found.stderr:
        pytest.skip(f"packages cannot be fetched here: {found.stderr.strip()[-300:]}")
    assert found.returncode == 0, f"{' '.join(words)}\n{found.stdout}\n{found.stderr}"
    return found.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheels by the name of their distribution, built from what git has of this checkout."""
    folder = tmp_path_factory.mktemp("source")
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, files.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    for source in ("./rise_client", "."):
        run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", "dist", source, cwd=folder)
    return {file.name.partition("-")[0]: file for file in (folder / "dist").iterdir()}


@pytest.fixture(scope="module")
def service_environment(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with both wheels; what they need comes from the environment of the tests."""
    folder = tmp_path_factory.mktemp("service") / "venv"
    python = empty_environment(folder)
    for wheel in wheels.values():
        run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", wheel, cwd=folder)
    (site,) = folder.glob("lib/python*/site-packages")
    # The lines of this folder's own .pth files are not followed, so that the packages of this checkout are not found.
    (site / "needs.pth").write_text(str(Path(fastapi.__file__).parents[1]))
    return folder / "bin"


@pytest.fixture(scope="module")
def client_environment(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the client's wheel and what that asks for, nothing else."""
    folder = tmp_path_factory.mktemp("client") / "venv"
    python = empty_environment(folder)
    run(sys.executable, "-m", "pip", "--python", python, "install", wheels["rise_client"], cwd=folder)
    return folder / "bin"


def empty_environment(folder: Path) -> Path:
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    return folder / "bin" / "python"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder of somebody else's project, which has packages called like ours."""
    for name in ("app", "workers"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('not this one')")
    return tmp_path


def needs(wheel: Path) -> set[str]:
    """Return the names of what a wheel asks for without extras."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        lines = Parser().parsestr(archive.read(name).decode()).get_all("Requires-Dist") or []
    return {re.match(r"[\w-]+", line)[0] for line in lines if "extra ==" not in line}  # type: ignore[index]


def packages(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name.partition("/")[0] for name in archive.namelist() if ".dist-info/" not in name}


def test_each_wheel_holds_its_own_packages_and_asks_for_what_they_need(wheels: dict[str, Path]) -> None:
    assert packages(wheels["rise_client"]) == {"rise_client"}
    assert needs(wheels["rise_client"]) == _CLIENT_NEEDS
    assert packages(wheels["rise_serve"]) == {"app", "workers"}
    assert "rise-client" in needs(wheels["rise_serve"])
    assert "torch" not in needs(wheels["rise_serve"])


_NOT_SERVED = {
    "app/openapi.json",  # for those who write clients
    "app/web/package.json",  # these three check the page's types
    "app/web/package-lock.json",
    "app/web/tsconfig.json",
}


def test_every_file_that_is_no_module_is_in_the_wheel(wheels: dict[str, Path]) -> None:
    with zipfile.ZipFile(wheels["rise_serve"]) as archive:
        held = set(archive.namelist())
    listed = subprocess.run(["git", "ls-files", "app", "workers"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(listed.stdout.split()) - held == _NOT_SERVED


def test_models_and_explanations_from_any_folder(service_environment: Path, elsewhere: Path) -> None:
    command = service_environment / "rise-serve"
    cards = {card["id"]: card["state"] for card in json.loads(run(command, "models", "--json", cwd=elsewhere))}
    assert cards["shapes"] == cards["shapes-detector"] == "ready"
    photo = elsewhere / "photo.jpg"
    photo.write_bytes((SAMPLES / "star.jpg").read_bytes())
    said = json.loads(run(command, "explain", "photo.jpg", "--model", "shapes", "--json", cwd=elsewhere))
    assert said["targets"][0]["name"] == "star"
    with np.load(elsewhere / "result" / "0.npz") as archive:
        assert archive["map"].shape == (360, 480)


@contextmanager
def served(environment: Path, folder: Path) -> Iterator[str]:
    """Run `rise-serve up` in a folder; give its address when it is ready."""
    port = free_port()
    settings = {"RISE_DATA": str(folder / "data"), "RISE_PORT": str(port), "OMP_NUM_THREADS": "1"}
    with (folder / "log").open("w") as log:
        command = [str(environment / "rise-serve"), "up"]
        process = subprocess.Popen(command, cwd=folder, env={**_ORDINARY, **settings}, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 120
        while not is_ready(f"http://127.0.0.1:{port}"):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def is_ready(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/readyz", timeout=5).is_success
    except httpx2.TransportError:
        return False


PROGRAM = """
import asyncio, io, json, sys
from importlib.metadata import distributions
from pathlib import Path
import numpy as np
from PIL import Image
from rise_client import AsyncClient, Client, ServiceError

url, photo = sys.argv[1:]
pixels = np.asarray(Image.open(photo).convert("RGB"))
images = [photo, Path(photo), Path(photo).read_bytes(), open(photo, "rb"), io.BytesIO(Path(photo).read_bytes())]
images += [Image.open(photo), pixels, (pixels / 255).astype(np.float32)]
with Client(url) as client:
    explanation = client.explain(photo, model="shapes", masks=512).wait()
    shapes = [explanation.map.shape, explanation.standard_error.shape]
    seen = [client.predict(image, model="shapes", limit=1)[0].name for image in images]
    shown = sorted(explanation._repr_mimebundle_())
    batch = client.batch([photo], model="shapes", masks=256).wait()
    items = [item.status for item in batch.items()]
    try:
        client.explain(photo, model="nothing")
    except ServiceError as error:
        refused = error.code

async def awaited():
    async with AsyncClient(url) as client:
        return (await (await (await client.explain(photo, model="shapes", masks=512)).wait()).map()).shape

print(json.dumps({
    "shapes": [*shapes, asyncio.run(awaited())], "seen": seen, "shown": shown, "items": items, "refused": refused,
    "installed": sorted(found.metadata["Name"].lower() for found in distributions()),
}))
"""


def test_a_service_that_is_started_anywhere_and_the_client_alone(
    service_environment: Path, client_environment: Path, elsewhere: Path
) -> None:
    photo = SAMPLES / "star.jpg"
    with served(service_environment, elsewhere) as url:
        program = elsewhere / "program.py"
        program.write_text(PROGRAM)
        said = json.loads(run(client_environment / "python", "-P", program, url, photo, cwd=elsewhere))
        assert "/main.js" in httpx2.get(url, headers={"Accept": "text/html"}).text  # the page is in the wheel
        asked = ["explain", str(photo), "--model", "shapes", "--server", url, "--json"]
        command = json.loads(run(service_environment / "rise-serve", *asked, cwd=elsewhere))
    assert said["shapes"] == [[360, 480]] * 3
    assert set(said["seen"]) == {"star"}
    assert said["shown"] == ["image/png", "text/plain"]
    assert (said["items"], said["refused"]) == (["succeeded"], "unknown-name")
    assert {"rise-client", *_CLIENT_NEEDS} <= set(said["installed"])
    assert not _SERVICE_ONLY & set(said["installed"])
    assert command["targets"][0]["name"] == "star"
    greeting = (elsewhere / "log").read_text()
    assert str(service_environment.parent) in greeting  # the sample that it shows is there to be sent
