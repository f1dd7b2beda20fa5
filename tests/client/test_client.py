"""The client turns the service into a few lines of Python."""

import asyncio
import io
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import numpy as np
import pytest
from PIL import Image

from rise_client import AsyncClient, Client, ImageInput, ServiceError
from tests.conftest import SAMPLES, Service

STAR = SAMPLES / "star.jpg"


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[Client]:
    with Client(service.url) as client:
        yield client


def test_a_photograph_becomes_a_map_in_one_line(client: Client) -> None:
    explanation = client.explain(STAR, model="shapes", masks=512).wait()
    width, height = Image.open(STAR).size
    assert explanation.map.shape == explanation.standard_error.shape == (height, width)
    assert explanation.data.status == "succeeded"
    assert explanation.data.targets[0].name == "star"
    assert Image.open(io.BytesIO(explanation.overlay(max_side=100))).width == 100


def test_one_line_is_enough_and_holds_what_it_needs(service: Service) -> None:
    assert Client(service.url).explain(STAR, model="shapes", masks=256).wait().map.ndim == 2


def test_a_client_that_nobody_closes_does_not_keep_the_program_from_ending(service: Service) -> None:
    program = f"from rise_client import Client\nclient = Client({service.url!r})\nprint(len(client.models()))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stdout) > 0
    assert done.stderr == ""


def test_a_client_that_nobody_holds_any_more_ends_its_thread(service: Service) -> None:
    before = threading.active_count()
    client = Client(service.url)
    explanation = client.explain(STAR, model="shapes", masks=256)
    del client
    assert explanation.wait().data.status == "succeeded"
    del explanation
    for _ in range(100):
        if threading.active_count() <= before:
            break
        time.sleep(0.05)
    assert threading.active_count() <= before


def test_a_client_that_is_closed_says_so(service: Service) -> None:
    client = Client(service.url)
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="the client is closed"):
        client.models()


def test_whoever_waits_when_a_client_is_closed_is_told_so(service: Service) -> None:
    client = Client(service.url)
    explanation = client.explain(STAR, model="shapes", masks=1_000_000, until=1, seed=8)
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(explanation.wait)
        following = threads.submit(list, explanation.progress())
        time.sleep(1)
        client.close()
        assert [str(one.exception(20)) for one in (waiting, following)] == ["the client is closed"] * 2
    with pytest.raises(RuntimeError, match="the client is closed"):
        explanation.refresh()
    httpx2.delete(f"{service.url}/v1/explanations/{explanation.data.id}").raise_for_status()


def test_a_client_that_is_closed_while_many_ask_leaves_nobody_waiting(service: Service) -> None:
    def ask(client: Client) -> None:
        while True:
            client.models()

    for _ in range(10):
        client = Client(service.url)
        with ThreadPoolExecutor(8) as threads:
            asked = [threads.submit(ask, client) for _ in range(8)]
            time.sleep(0.1)
            client.close()
            assert {str(one.exception(20)) for one in asked} == {"the client is closed"}


def test_a_forked_child_is_told_to_make_its_own_client_and_does_not_disturb_its_parent(service: Service) -> None:
    program = f"""
import os, signal, sys
from rise_client import Client
client = Client({service.url!r})
explanation = client.explain({str(STAR)!r}, model="shapes", masks=256)
reports = explanation.progress()
next(reports, None)
child = os.fork()
if not child:
    signal.alarm(30)
    for call in (lambda: client.explanation("1"), explanation.wait):
        try:
            call()
        except RuntimeError as error:
            print(error)
    client.close()
    with Client({service.url!r}) as own:
        print(len(own.models()))
    sys.exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(explanation.wait().data.status)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=True)
    said = done.stdout.splitlines()
    assert said[0] == said[1]
    assert "make a client in each process" in said[0]
    assert int(said[2]) > 0
    assert said[3:] == ["7", "succeeded"]
    assert done.stderr == ""


def test_paths_bytes_pictures_and_pixels_are_the_same_image(client: Client) -> None:
    pixels = np.asarray(Image.open(STAR).convert("RGB"))
    images: list[ImageInput] = [str(STAR), STAR.read_bytes(), Image.fromarray(pixels), pixels, pixels / 255]
    found = [client.predict(image, model="shapes", limit=1)[0] for image in images]
    with STAR.open("rb") as file:
        found += client.predict(file, model="shapes", limit=1)
    assert {one.name for one in found} == {"star"}
    assert all(one.score == pytest.approx(found[0].score, abs=1e-3) for one in found)


def test_targets_are_labels_names_or_the_top_ones(client: Client) -> None:
    for targets, names in (("ring", ["ring"]), ([3, "ring"], ["star", "ring"])):
        data = client.explain(STAR, model="shapes", targets=targets, masks=256).wait().data
        assert [target.name for target in data.targets] == names
    assert len(client.explain(STAR, model="shapes", targets="top:3", masks=256).wait().data.targets) == 3


def test_a_class_that_nobody_asked_for_has_a_map_too(client: Client) -> None:
    explanation = client.explain(STAR, model="shapes", masks=512).wait()
    assert explanation.map_of("ring").shape == explanation.map.shape
    assert not np.allclose(explanation.map_of("ring"), explanation.map)


def test_progress_comes_until_the_end(client: Client) -> None:
    explanation = client.explain(STAR, model="shapes", masks=8_000, until=1, seed=5)
    masks = [report.masks for report in explanation.progress()]
    assert len(masks) >= 2
    assert masks == sorted(masks)
    assert explanation.data.status == "succeeded"


def test_what_is_wrong_is_an_error_with_the_problem_s_code_and_field(client: Client) -> None:
    with pytest.raises(ServiceError, match="unknown-name") as caught:
        client.explain(STAR, model="shapez")
    assert caught.value.status == 422
    assert caught.value.errors[0]["field"] == "/model"


def test_waiting_for_what_was_cancelled_says_so(client: Client) -> None:
    explanation = client.explain(STAR, model="shapes", masks=1_000_000, until=1, seed=6)
    assert client.explanation(explanation.data.id).cancel().data.status == "cancelled"
    with pytest.raises(ServiceError, match="cancelled"):
        explanation.wait()
    explanation.delete()
    with pytest.raises(ServiceError, match="not-found"):
        explanation.refresh()


def test_waiting_ends_when_the_time_is_up(client: Client) -> None:
    explanation = client.explain(STAR, model="shapes", masks=1_000_000, until=1, seed=7)
    with pytest.raises(TimeoutError, match=r"0\.2 seconds"):
        explanation.wait(0.2)
    explanation.cancel()


def test_several_explanations_at_once_with_await(service: Service) -> None:
    async def explain_all() -> list[tuple[int, ...]]:
        async with AsyncClient(service.url) as client:
            asked = [await client.explain(STAR, model="shapes", masks=256, seed=seed) for seed in range(3)]
            await asyncio.gather(*(one.wait() for one in asked))
            return [(await one.map()).shape for one in asked]

    assert len(set(asyncio.run(explain_all()))) == 1


def test_what_there_is(client: Client) -> None:
    assert {"shapes", "shapes-detector"} <= {card.id for card in client.models()}
    assert {"rise", "drise", "mc-rise"} <= {card.id for card in client.methods()}


def test_an_audit_is_one_call_and_its_maps_are_another(client: Client) -> None:
    explanation = client.explain(STAR, model="shapes", masks=256, seed=301).wait()
    assert explanation.data.audit is None
    audit = explanation.audit()
    assert audit.status == "succeeded"
    assert audit.passes is not None
    assert explanation.data.audit_passes is not None
    assert audit.passes <= explanation.data.audit_passes
    assert {check.check for check in audit.checks} >= {"fill-dependence", "discontinuity"}
    assert client.audit(explanation.data.id) == audit
    assert explanation.refresh().data.audit == audit
    assert explanation.map_of(0, fill="grey").shape == explanation.map_of(0, opacity=0.3).shape == explanation.map.shape
    assert audit.methods == ["grad-cam"]
    assert explanation.map_of(0, method="grad-cam").min() >= 0 > explanation.map.min()


def test_what_cannot_be_audited_is_said_with_its_reason(client: Client) -> None:
    explanation = client.explain(STAR, model="shapes", masks=256, fill=["black", "blur"]).wait()
    with pytest.raises(ServiceError, match="one fill"):
        explanation.audit()
