"""Processes that are kept alive."""

import os
import re
import sys
import time
from pathlib import Path

import pytest

from app.cli.single_machine.managed_process import ManagedProcess


def child(code: str, **environment: str) -> ManagedProcess:
    return ManagedProcess("it", [sys.executable, "-c", code], {**os.environ, **environment})


def look_after(one: ManagedProcess, said: list[str], messages: int) -> None:
    """Keep a child alive until so many messages were said."""
    deadline = time.monotonic() + 30
    one.start()
    while len(said) < messages:
        one.keep_alive(said.append)
        assert time.monotonic() < deadline, said
        time.sleep(0.01)


def test_one_that_ends_at_once_again_and_again_is_started_with_growing_pauses() -> None:
    said: list[str] = []
    look_after(child("raise SystemExit(3)"), said, 4)
    assert [re.findall(r"in (\S+) s", line) for line in said] == [["0.25"], ["0.5"], ["1"], ["2"]]
    assert all(line.startswith("it ended with code 3; starting it again") for line in said)
    assert ["keeps ending early" in line for line in said] == [False, False, True, True]


@pytest.mark.parametrize(
    ("code", "words"), [(70, "because a model made no progress"), (71, "because its device broke")]
)
def test_one_that_ended_itself_is_started_again_at_once(code: int, words: str) -> None:
    said: list[str] = []
    look_after(child(f"raise SystemExit({code})"), said, 3)
    assert all(words in line and line.endswith("starting it again") for line in said)


def test_the_pause_is_kept(tmp_path: Path) -> None:
    mark = tmp_path / "starts"
    said: list[str] = []
    look_after(child(f"import time; open({str(mark)!r}, 'a').write(f'{{time.time()}} '); raise SystemExit(1)"), said, 3)
    first, second, third = map(float, mark.read_text().split())
    assert second - first >= 0.25
    assert third - second >= 0.5


def test_a_signal_is_named() -> None:
    said: list[str] = []
    look_after(child("import os; os.kill(os.getpid(), 9)"), said, 1)
    assert said == ["it was ended by SIGKILL; starting it again in 0.25 s"]
