"""What is left behind by workers that could not say why they ended."""

import os
import time
from dataclasses import replace
from io import FileIO
from pathlib import Path

import pytest

from workers.supervision.watchdog import CrashContext, collect_crash_reports, crash_folder, write_crash_context

DOING = CrashContext(worker="w", job="j", attempt="2", model="m", seconds=10.0, since=0.0)


def leave(folder: Path, doing: CrashContext, stack: str) -> None:
    file = FileIO(folder / f"{doing.worker}.stack", "w")
    write_crash_context(file, doing)
    file.write(stack.encode())
    file.close()


def test_a_stack_is_taken_once_with_what_the_worker_did(tmp_path: Path) -> None:
    doing = replace(DOING, since=time.time() - DOING.seconds)
    leave(tmp_path, doing, "Timeout!\nThread 0x1\n")
    (left,) = collect_crash_reports(tmp_path)
    assert (left.context, left.stack, left.frozen) == (doing, "Timeout!\nThread 0x1\n", False)
    assert list(collect_crash_reports(tmp_path)) == []


def test_a_worker_that_works_has_left_nothing_and_keeps_its_file(tmp_path: Path) -> None:
    leave(tmp_path, DOING, "")
    assert list(collect_crash_reports(tmp_path)) == []
    assert len(list(tmp_path.iterdir())) == 1


def test_only_the_last_thing_that_a_worker_did_counts(tmp_path: Path) -> None:
    file = FileIO(tmp_path / "w.stack", "w")
    write_crash_context(file, replace(DOING, model="a model with a long name"))
    write_crash_context(file, DOING)
    file.write(b"Timeout!\n")
    assert [left.context for left in collect_crash_reports(tmp_path)] == [DOING]
    file.close()


def test_a_process_that_stood_still_did_not_hang_in_its_model(tmp_path: Path) -> None:
    for seconds in (60, 0):  # its timer went off too late, or so did the one before
        leave(tmp_path, replace(DOING, since=time.time() - seconds), "Timeout!\n")
        (left,) = collect_crash_reports(tmp_path)
        assert left.frozen


def test_what_killed_workers_left_is_removed_after_a_day(tmp_path: Path) -> None:
    leave(tmp_path, DOING, "")
    os.utime(tmp_path / "w.stack", (time.time() - 90_000, time.time() - 90_000))
    assert list(collect_crash_reports(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


def test_stacks_go_elsewhere_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file in the place of the folder")
    assert tmp_path not in crash_folder(tmp_path / "data").parents
    assert crash_folder(tmp_path) == tmp_path / "stacks"


def test_a_context_that_is_written_while_the_timer_writes_a_stack_leaves_it_whole(tmp_path: Path) -> None:
    file = FileIO(tmp_path / "w.stack", "w")
    write_crash_context(file, replace(DOING, model="a model with a long name"))
    os.write(file.fileno(), b"Timeout!\n")  # as faulthandler does, which knows the descriptor only
    write_crash_context(file, DOING)
    os.write(file.fileno(), b"  File ...\n")
    (left,) = collect_crash_reports(tmp_path)
    assert (left.context, left.stack) == (DOING, "Timeout!\n  File ...\n")


@pytest.mark.parametrize("first", ["", "no JSON", "{}", '"a name"', "\0\0"])
def test_a_report_that_cannot_be_read_is_told_and_taken_away(
    first: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "broken.stack").write_text(f"{first}\nTimeout!\n")
    assert list(collect_crash_reports(tmp_path)) == []
    assert "Timeout!" in caplog.text
    assert list(tmp_path.iterdir()) == []
