"""How things are broken, and mended again. One function per kind of fault; each returns when it is over."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.support.tcp_gate import Gate
from tests.torture.ledger import Ledger
from tests.torture.members import Member
from tests.torture.schedule import Fault
from tests.torture.stage import Stage
from tests.torture.takeovers import held_by, time_takeover

_SLOW_SECONDS = 0.15


def break_things(stage: Stage, faults: Iterator[Fault], ledger: Ledger, over: threading.Event) -> None:
    """Do one fault after the other until they are used up or it is over."""
    for fault in faults:
        if over.wait(fault.pause_seconds):
            return
        held = held_by(stage, _worker(stage, fault)[0].pid) if fault.kind == "worker killed" else None
        began = time.monotonic()
        if held is not None:
            time_takeover(stage, held, ledger)
        try:
            BREAK[fault.kind](stage, fault)
        except AssertionError as complaint:
            ledger.complain("a process does not end or come back", f"{fault.kind}: {complaint}")
        ledger.broke(fault.kind, began, time.monotonic())


def _worker(stage: Stage, fault: Fault) -> tuple[Member, Gate]:
    return stage.workers[fault.victim % len(stage.workers)]


def _front_end(stage: Stage, fault: Fault) -> Member:
    return list(stage.front_ends.values())[fault.victim % len(stage.front_ends)]


def _kill_worker(stage: Stage, fault: Fault) -> None:
    worker, _ = _worker(stage, fault)
    worker.kill()
    worker.start()


def _stop_worker(stage: Stage, fault: Fault) -> None:
    worker, _ = _worker(stage, fault)
    worker.end()
    worker.start()


def _freeze_worker(stage: Stage, fault: Fault) -> None:
    with _frozen(_worker(stage, fault)[0]):
        time.sleep(fault.seconds)


def _cut_worker_off(stage: Stage, fault: Fault) -> None:
    _, gate = _worker(stage, fault)
    gate.shut()
    time.sleep(fault.seconds)
    gate.reopen()


def _silence_worker(stage: Stage, fault: Fault) -> None:
    """Hold back what a worker and Valkey tell each other; it arrives late."""
    _, gate = _worker(stage, fault)
    gate.go_silent()
    time.sleep(fault.seconds)
    gate.reopen()


def _kill_front_end(stage: Stage, fault: Fault) -> None:
    front_end = _front_end(stage, fault)
    front_end.kill()
    front_end.start()
    front_end.wait_until_up()


def _stop_front_end(stage: Stage, fault: Fault) -> None:
    front_end = _front_end(stage, fault)
    front_end.end()
    front_end.start()
    front_end.wait_until_up()


def _kill_redis(stage: Stage, fault: Fault) -> None:
    stage.redis.kill()
    time.sleep(fault.seconds)
    stage.redis.start()
    stage.redis.wait_until_up()


def _restart_redis(stage: Stage, fault: Fault) -> None:
    stage.redis.end()
    time.sleep(fault.seconds)
    stage.redis.start()
    stage.redis.wait_until_up()


def _freeze_redis(stage: Stage, fault: Fault) -> None:
    with _frozen(stage.redis):
        time.sleep(fault.seconds)


def _shut_storage(stage: Stage, fault: Fault) -> None:
    stage.storage.shut()
    time.sleep(fault.seconds)
    stage.storage.reopen()


def _silence_storage(stage: Stage, fault: Fault) -> None:
    stage.storage.go_silent()
    time.sleep(fault.seconds)
    stage.storage.shut()
    stage.storage.reopen()


def _slow_storage(stage: Stage, fault: Fault) -> None:
    stage.storage.slow_down(_SLOW_SECONDS)
    time.sleep(fault.seconds)
    stage.storage.reopen()


@contextmanager
def _frozen(member: Member) -> Iterator[None]:
    member.freeze()
    try:
        yield
    finally:
        member.thaw()


BREAK: dict[str, Callable[[Stage, Fault], None]] = {
    "worker killed": _kill_worker,
    "worker stopped": _stop_worker,
    "worker frozen briefly": _freeze_worker,
    "worker frozen until it is lost": _freeze_worker,
    "worker cut off from Redis": _cut_worker_off,
    "worker out of Redis' hearing": _silence_worker,
    "front end killed": _kill_front_end,
    "front end stopped": _stop_front_end,
    "Redis killed": _kill_redis,
    "Redis restarted": _restart_redis,
    "Redis frozen": _freeze_redis,
    "storage away": _shut_storage,
    "storage silent": _silence_storage,
    "storage slow": _slow_storage,
}
