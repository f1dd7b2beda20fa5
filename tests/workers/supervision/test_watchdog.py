"""What ends a process that shows no sign of life, and what does not; each in a process of its own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from app.contract.exit_codes import STALLED
from workers.supervision.watchdog import collect_crash_reports

BEGINNING = """
import ctypes, sys, time
from pathlib import Path
from workers.supervision.watchdog import Watchdog, WatchedJob

def report(model, seconds):
    print("reported", model, round(seconds, 1), flush=True)

longest = float(sys.argv[3])
watchdog = Watchdog("w", stall_seconds=longest, blocked_seconds=longest, folder=Path(sys.argv[1]))
watchdog.start()
job = WatchedJob("j", "2", float(sys.argv[2]), report)
with watchdog.watch_job(job):
    print("begun", flush=True)
"""


def start(folder: Path, code: str, *, seconds: float = 60, longest: float = 1) -> "subprocess.Popen[str]":
    lines = BEGINNING + "".join(f"    {line}\n" for line in code.splitlines()) + "print('ended')\n"
    command = [sys.executable, "-c", lines, str(folder), str(seconds), str(longest)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_job_that_asks_no_model_may_be_silent_for_longer(tmp_path: Path) -> None:
    process = start(tmp_path, "time.sleep(2.5)")
    said, _ = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "begun\nended\n")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_asked_outside_of_a_job_arms_no_timer(tmp_path: Path) -> None:
    code = BEGINNING.partition("with watchdog.watch_job")[0] + "with watchdog.watch_model('m'): pass\ntime.sleep(2.5)\n"
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), "60", "1"], capture_output=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr


def test_a_model_that_is_asked_may_not(tmp_path: Path) -> None:
    process = start(tmp_path, "with watchdog.watch_model('m'): time.sleep(60)")
    said, stack = process.communicate(timeout=30)
    assert process.returncode == STALLED
    assert said.startswith("begun\nreported m 1.")
    assert "time.sleep" in stack or "in <module>" in stack


def test_signs_of_life_put_it_off(tmp_path: Path) -> None:
    process = start(tmp_path, "with watchdog.watch_model('m'):\n  for _ in range(5): time.sleep(0.5); watchdog.kick()")
    said, _ = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, "begun\nended\n")


def test_a_model_that_keeps_the_interpreter_leaves_its_stack_and_a_line_that_says_what_it_did(tmp_path: Path) -> None:
    process = start(tmp_path, "with watchdog.watch_model('m'): ctypes.PyDLL(None).sleep(60)")
    said, _ = process.communicate(timeout=30)
    assert (process.returncode, said) == (1, "begun\n")
    (left,) = collect_crash_reports(tmp_path)
    assert (left.context.job, left.context.attempt, left.context.model, left.frozen) == ("j", "2", "m", False)
    assert "Timeout" in left.stack


def test_a_look_that_fails_is_not_the_last(tmp_path: Path) -> None:
    code = """
late, watchdog._find_stall = watchdog._find_stall, lambda now: 1 / 0
time.sleep(0.5)
watchdog._find_stall = late
with watchdog.watch_model('m'): time.sleep(60)
"""
    process = start(tmp_path, code)
    said, log = process.communicate(timeout=30)
    assert process.returncode == STALLED
    assert said.startswith("begun\nreported m 1.")
    assert "ZeroDivisionError" in log


def test_a_job_that_does_not_hear_that_its_time_is_up_is_ended(tmp_path: Path) -> None:
    process = start(tmp_path, "time.sleep(60)", seconds=1)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == STALLED
    assert said.startswith("begun\nreported None 1.")


def test_a_process_that_was_stopped_is_not_taken_for_one_whose_model_hangs(tmp_path: Path) -> None:
    # Three seconds, because on a busy machine a process may not run for one.
    code = "with watchdog.watch_model('m'):\n  while True: time.sleep(0.1); watchdog.kick()"
    process = start(tmp_path, code, longest=3)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(10)
    os.kill(process.pid, signal.SIGCONT)
    time.sleep(1)
    process.kill()
    said, _ = process.communicate(timeout=30)
    assert "reported" not in said
    assert [left.frozen for left in collect_crash_reports(tmp_path)] in (
        [True],
        [],
    )  # it ends, or was faster than the timer
