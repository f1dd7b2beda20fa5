"""Models are loaded, kept while memory lasts, replaced on request; one that fails stands in nobody's way."""

import importlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rq.timeouts import JobTimeoutException, UnixSignalDeathPenalty

from app.contract.errors import RiseError
from app.contract.schemas import ModelCard
from tests.support.loopback import Reply, loopback
from workers.blackbox import CPU
from workers.registry.model_registry import ModelRegistry

SHAPES = '[{}]\nloader = "python"\nsource = "workers.demo.shapes:load"\n{}\n'


class Memory:
    """A device whose free memory is what the test says."""

    def __init__(self) -> None:
        self.free = 1.0

    def __call__(self, _: torch.device) -> float:
        return self.free


def collection(tmp_path: Path, *entries: str, memory: Memory | None = None) -> ModelRegistry:
    (tmp_path / "models.toml").write_text("\n".join(entries))
    return ModelRegistry(tmp_path / "models.toml", CPU, free=memory or Memory())


def loaded(models: ModelRegistry) -> list[str]:
    return list(models._loaded)


def test_a_model_that_does_not_load_says_why_and_stops_no_other(tmp_path: Path) -> None:
    broken = '[broken]\nloader = "python"\nsource = "nowhere:load"\n'
    models = collection(tmp_path, broken, SHAPES.format("shapes", ""))
    assert [card.state for card in models.cards()] == ["loading", "loading"]
    models.load_all()
    assert [card.state for card in models.cards()] == ["failed", "ready"]
    assert "nowhere" in (models.cards()[0].reason or "")
    with pytest.raises(RiseError, match="nowhere"):
        models.get("broken")


def test_a_model_without_preload_is_described_but_not_kept_until_it_is_asked_for(tmp_path: Path) -> None:
    models = collection(tmp_path, SHAPES.format("lazy", "preload = false"), SHAPES.format("eager", ""))
    models.load_all()
    assert loaded(models) == ["eager"]
    digest = {card.id: card.digest for card in models.cards()}["lazy"]
    assert models.get("lazy").digest == digest
    assert loaded(models) == ["eager", "lazy"]


def test_the_model_that_was_not_used_for_longest_goes_when_memory_is_short(tmp_path: Path) -> None:
    memory = Memory()
    models = collection(tmp_path, *(SHAPES.format(name, "preload = false") for name in ("a", "b", "c")), memory=memory)
    models.load_all()
    models.get("a")
    models.get("b")
    models.get("a")
    memory.free = 0.05
    released = threading.Event()

    def release_one(_: torch.device) -> float:
        released.set()
        return 0.05 if "b" in models._loaded else 0.5

    models._free = release_one
    models.get("c")
    assert released.is_set()
    assert loaded(models) == ["a", "c"]


def test_a_model_for_which_there_is_no_memory_pushes_others_out_and_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = collection(tmp_path, SHAPES.format("a", ""), SHAPES.format("b", "preload = false"))
    models.load_all()
    real = models._load_now.__globals__["load_model"]

    def only_one_at_a_time(*arguments: object, **options: object) -> object:
        if models._loaded:
            raise torch.OutOfMemoryError
        return real(*arguments, **options)

    monkeypatch.setitem(models._load_now.__globals__, "load_model", only_one_at_a_time)
    models.get("b")
    assert loaded(models) == ["b"]


def test_reload_takes_new_models_drops_old_ones_and_keeps_what_is_the_same(tmp_path: Path) -> None:
    models = collection(tmp_path, SHAPES.format("stays", ""), SHAPES.format("goes", ""))
    models.load_all()
    before = models.get("stays").black_box
    (tmp_path / "models.toml").write_text(SHAPES.format("stays", "") + SHAPES.format("comes", ""))
    models.reload()
    assert sorted(card.id for card in models.cards()) == ["comes", "stays"]
    assert models.get("stays").black_box is before
    with pytest.raises(RiseError, match="comes"):
        models.get("goes")


def test_what_was_accepted_with_an_earlier_version_still_gets_it_after_a_reload(tmp_path: Path) -> None:
    models = collection(tmp_path, SHAPES.format("shapes", ""))
    models.load_all()
    earlier = models.get("shapes")
    (tmp_path / "models.toml").write_text(SHAPES.format("shapes", 'precision = "float32"'))
    models.reload()
    now = models.get("shapes")
    assert now.digest != earlier.digest
    assert models.get("shapes", earlier.digest) is earlier
    with pytest.raises(RiseError, match="has changed since"):
        models.get("shapes", "0000000000000000")


def test_a_model_that_failed_is_tried_again_until_it_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = collection(tmp_path, '[late]\nloader = "python"\nsource = "comes_late:load"\n')
    models.load_all()
    assert models.cards()[0].state == "failed"
    monkeypatch.syspath_prepend(tmp_path)
    stopping = threading.Event()
    trying = threading.Thread(target=models.retry_failed_loads, args=[stopping], kwargs={"first_pause_seconds": 0.01})
    trying.start()
    (tmp_path / "comes_late.py").write_text("from workers.demo.shapes import load\n")
    deadline = time.monotonic() + 30
    while models.cards()[0].state != "ready":
        assert time.monotonic() < deadline, models.cards()
        time.sleep(0.01)
        importlib.invalidate_caches()
    stopping.set()
    trying.join()
    assert models.get("late").task == "classification"


COMES_LATER = """
from pathlib import Path
from workers.demo.shapes import load as load_shapes

class NamelessError(Exception):
    def __str__(self):
        raise ValueError("an error without words")

def load(*arguments, **options):
    tried = Path(__file__).with_name("tried")
    if not tried.exists():
        tried.touch()
        raise NamelessError
    return load_shapes(*arguments, **options)
"""


def test_a_failure_that_cannot_be_described_does_not_end_the_tries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = collection(tmp_path, '[late]\nloader = "python"\nsource = "comes_later:load"\n')
    models.load_all()
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "comes_later.py").write_text(COMES_LATER)
    importlib.invalidate_caches()
    stopping = threading.Event()
    trying = threading.Thread(target=models.retry_failed_loads, args=[stopping], kwargs={"first_pause_seconds": 0.01})
    trying.start()
    deadline = time.monotonic() + 30
    while models.cards()[0].state != "ready":
        assert time.monotonic() < deadline, models.cards()
        time.sleep(0.01)
    stopping.set()
    trying.join()


SLOW = """
import threading
from workers.demo.shapes import load as load_shapes

begun, go_on, loads = threading.Event(), threading.Event(), []

def load(*arguments, **options):
    loads.append(threading.current_thread())
    begun.set()
    assert go_on.wait(60)
    return load_shapes(*arguments, **options)
"""


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module whose model begins to load when it is asked to, and goes on when the test says so."""
    name = f"slow_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(SLOW)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    module = importlib.import_module(name)
    yield module
    module.go_on.set()


def slow_entry(slow: Any, more: str = "preload = false") -> str:
    return f'[slow]\nloader = "python"\nsource = "{slow.__name__}:load"\n{more}\n'


def begin(function: Callable[..., object], *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=function, args=arguments, daemon=True)
    thread.start()
    return thread


def test_a_model_that_takes_long_to_load_holds_up_no_other(tmp_path: Path, slow: Any) -> None:
    models = collection(tmp_path, SHAPES.format("here", ""), SHAPES.format("lazy", "preload = false"), slow_entry(slow))
    here = models._load("here").result()
    waiting = begin(models.get, "slow")
    assert slow.begun.wait(30)
    assert models.get("here") is here
    assert models.get("lazy").task == "classification"
    assert [card.state for card in models.cards()] == ["ready", "ready", "loading"]
    slow.go_on.set()
    waiting.join(30)
    assert models.cards()[2].state == "ready"


def test_a_model_that_takes_long_to_load_does_not_keep_a_worker_from_its_jobs(
    tmp_path: Path, slow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.registry.model_registry._MAX_WAIT_SECONDS", 0.2)
    models = collection(
        tmp_path, slow_entry(slow, ""), slow_entry(slow).replace("slow]", "lazy]"), SHAPES.format("here", "")
    )
    goes_on = models.load_local()
    assert models.get("here").task == "classification"
    assert [card.state for card in models.cards()] == ["loading", "loading", "ready"]
    slow.go_on.set()
    assert all(load.result(60) is not None for load in goes_on)
    assert [card.state for card in models.cards()] == ["ready", "ready", "ready"]
    while "lazy" in loaded(models):
        time.sleep(0.01)
    assert set(loaded(models)) == {"slow", "here"}


def test_a_model_that_fails_slowly_is_tried_again_without_holding_up_others(tmp_path: Path, slow: Any) -> None:
    models = collection(tmp_path, SHAPES.format("here", ""), slow_entry(slow))
    models._load("here").result()
    models._cards["slow"] = ModelCard(id="slow", state="failed", reason="it was away")
    stopping = threading.Event()
    trying = begin(lambda: models.retry_failed_loads(stopping, first_pause_seconds=0.01))
    assert slow.begun.wait(30)
    assert models.get("here").id == "here"
    stopping.set()
    trying.join(30)
    assert not trying.is_alive()


def test_whoever_asks_for_a_model_that_loads_waits_for_the_one_load(tmp_path: Path, slow: Any) -> None:
    models = collection(tmp_path, slow_entry(slow))
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(models.get, "slow") for _ in range(3)]
        assert slow.begun.wait(30)
        slow.go_on.set()
        assert len({id(one.result()) for one in asked}) == 1
    assert len(slow.loads) == 1


def test_the_time_limit_of_a_job_ends_its_wait_and_not_the_load(tmp_path: Path, slow: Any) -> None:
    models = collection(tmp_path, slow_entry(slow))
    with pytest.raises(JobTimeoutException), UnixSignalDeathPenalty(1, JobTimeoutException):  # type: ignore[no-untyped-call]
        models.get("slow")
    assert models.cards()[0].state == "loading"
    slow.go_on.set()
    assert models.get("slow").id == "slow"
    assert len(slow.loads) == 1


def test_a_reload_while_a_model_loads_ends_with_what_the_file_says_last(tmp_path: Path, slow: Any) -> None:
    models = collection(tmp_path, slow_entry(slow))
    waiting = begin(models.get, "slow")
    assert slow.begun.wait(30)
    (tmp_path / "models.toml").write_text(slow_entry(slow, "limits.batch = 7"))
    reloading = begin(models.reload)
    while models._entries["slow"].limits.batch != 7:
        time.sleep(0.01)
    slow.go_on.set()
    waiting.join(30)
    reloading.join(30)
    assert models.get("slow").batch == 7
    assert len(slow.loads) == 2


def test_weights_that_take_long_to_hash_hold_up_no_model(tmp_path: Path) -> None:
    models = collection(tmp_path, SHAPES.format("large", ""), SHAPES.format("here", ""))
    models.load_all()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # because reading it goes on until somebody writes
    large = models.get("large")
    models._loaded["large"] = replace(large, black_box=replace(large.black_box, files=(pipe,)))
    reloading = begin(models.reload)
    with pipe.open("wb"):  # once the reload reads
        assert models.get("here").id == "here"
        assert reloading.is_alive()
    reloading.join(30)
    assert [card.state for card in models.cards()] == ["ready", "ready"]


def test_a_server_that_never_answers_does_not_hold_up_the_start(tmp_path: Path) -> None:
    with loopback(lambda _: Reply(never=True)) as server:
        remote = f'[remote]\nloader = "open-inference"\nsource = "{server.url}/v2/models/remote"\n'
        models = collection(tmp_path, remote, SHAPES.format("here", ""))
        begun = models.load_local()
        assert [card.state for card in models.cards()] == ["loading", "ready"]
    assert begun[0].result(30) is None
    assert models.cards()[0].state == "failed"


def test_code_of_a_model_that_ends_the_process_is_a_model_that_does_not_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ends_all.py").write_text("import sys\ndef load(): sys.exit('no such file')\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    models = collection(tmp_path, '[ends]\nloader = "python"\nsource = "ends_all:load"\n')
    models.load_all()
    assert (models.cards()[0].state, models.cards()[0].reason) == ("failed", "no such file")


def test_a_models_file_with_errors_changes_nothing(tmp_path: Path) -> None:
    models = collection(tmp_path, SHAPES.format("shapes", ""))
    models.load_all()
    before = models.get("shapes")
    (tmp_path / "models.toml").write_text("[shapes\n")
    models.reload()
    assert models.get("shapes") is before


def test_what_cannot_change_a_map_does_not_change_the_digest(tmp_path: Path) -> None:
    models = collection(
        tmp_path,
        SHAPES.format("a", ""),
        SHAPES.format("b", "preload = false\nlimits.batch = 8\ndevice = 'cpu'"),
        SHAPES.format("c", 'outputs.activation = "sigmoid"'),
    )
    models.load_all()
    a, b, c = (card.digest for card in models.cards())
    assert a == b != c
    assert models.get("b").batch == 8


def test_black_hides_by_default_only_where_a_classifier_was_trained_with_masks(tmp_path: Path) -> None:
    detector = SHAPES.replace("shapes:load", "shapes_detector:load")
    models = collection(
        tmp_path, SHAPES.format("a", "trained_with_masks = true"), SHAPES.format("b", ""), detector.format("c", "")
    )
    models.load_all()
    trained, untrained, finds_boxes = models.cards()
    assert (trained.default_fill, untrained.default_fill, finds_boxes.default_fill) == ("black", "blur", "black")
    assert trained.digest == untrained.digest, "what hides is a part of each request"
    told = [next(one for one in card.assumptions if one.what == "trained_with_masks") for card in models.cards()]
    assert [(one.value, one.source) for one in told[:2]] == [("true", "entry"), ("false", "convention")]
