"""Calls of models under supervision: what they raise names the model, and their progress reaches the watchdog."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from app.contract.errors import RiseError
from tests.support.loopback import Reply, loopback
from workers.blackbox import BlackBoxError
from workers.remote.http.client import HttpRequest, ModelServerClient
from workers.remote.http.options import ConnectionOptions
from workers.supervision import current_attempt
from workers.supervision.current_attempt import Attempt, ShutdownRequested, model_call
from workers.supervision.watchdog import Watchdog


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Attempt]:
    """An attempt at a job in this process."""
    watchdog = Watchdog("w", stall_seconds=60, blocked_seconds=60, folder=tmp_path)
    present = Attempt(cast(Any, None), watchdog, cast(Any, None), threading.Event())
    token = current_attempt._CURRENT.set(present)
    yield present
    current_attempt._CURRENT.reset(token)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (BlackBoxError("gave NaN"), "model-failed", "model 'm' failed: gave NaN"),
        (ZeroDivisionError("by zero"), "model-failed", "model 'm' raised ZeroDivisionError: by zero"),
        (torch.OutOfMemoryError(), "out-of-memory", "model 'm' does not fit"),
        (RiseError("no-target", "nothing there"), "no-target", "nothing there"),
        (SystemExit(2), "model-failed", "model 'm' tried to end the process"),
    ],
)
def test_whatever_a_model_raises_is_a_failure_that_names_it(error: BaseException, code: str, words: str) -> None:
    with pytest.raises(RiseError, match=words) as failed, model_call("m"):
        raise error
    assert failed.value.code == code


def test_a_worker_that_is_told_to_end_at_once_does_not_blame_the_model(supervised: Attempt) -> None:
    supervised.stopping.set()
    for error in (SystemExit(), ShutdownRequested()):
        with pytest.raises(type(error)), model_call("m"):
            raise error


def test_a_model_whose_server_answers_is_alive_even_while_it_asks_to_wait(supervised: Attempt) -> None:
    connection = ModelServerClient(ConnectionOptions(retries=0))
    with loopback(lambda _: Reply(b"", 429)) as server, model_call("m"):
        supervised.watchdog._kicked_at = -1
        began = time.monotonic()
        with pytest.raises(BlackBoxError, match="answered 429"):
            connection.map_concurrent(lambda _, cancelled: connection.send(HttpRequest(server.url), cancelled), [0])
    assert supervised.watchdog._kicked_at >= began
