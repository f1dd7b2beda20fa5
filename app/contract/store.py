"""Explanations in Redis: one hash each, changed only by scripts that check who may change it.

A running explanation belongs to one execution. A worker that was cut off and wakes up late still carries the name of
its old execution, and its writes are refused; so are writes to an explanation that was cancelled meanwhile. Every
change is also an entry in the explanation's event stream, which is what waiting clients read (`events.py`).
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from redis import Redis

from app.contract.schemas import Checkpoint, Failure, Progress, Provenance, Record, State, Status, TargetResult
from app.contract.statistics import Statistics

_EVENTS_KEPT = 1000

_CREATE = """
local status = redis.call('HGET', KEYS[1], 'status')
if status and (status == '"queued"' or status == '"running"' or status == '"succeeded"') then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 4))
redis.call('EXPIRE', KEYS[1], ARGV[1])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', 'event', 'queued', 'data', ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[1])
return 1
"""

# ARGV: seconds to live, events kept, event, data, allowed statuses, execution or '', then fields and values.
_CHANGE = """
local status = redis.call('HGET', KEYS[1], 'status')
if not status or not string.find(ARGV[5], status, 1, true) then return 0 end
if ARGV[6] ~= '' and redis.call('HGET', KEYS[1], 'execution') ~= ARGV[6] then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 7))
redis.call('EXPIRE', KEYS[1], ARGV[1])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', 'event', ARGV[3], 'data', ARGV[4])
redis.call('EXPIRE', KEYS[2], ARGV[1])
return 1
"""


def record_key(explanation_id: str) -> str:
    """Return the key of an explanation's hash."""
    return f"rise:explanation:{explanation_id}"


def events_key(explanation_id: str) -> str:
    """Return the key of an explanation's event stream."""
    return f"rise:events:{explanation_id}"


class Store:
    """Reads and changes explanations.

    Args:
        redis: client with byte replies.
        keep_seconds: how long an explanation lives after its last change.
    """

    def __init__(self, redis: Redis, *, keep_seconds: int) -> None:
        self._redis = redis
        self._statistics = Statistics(redis)
        self._keep_seconds = keep_seconds
        self._create = redis.register_script(_CREATE)
        self._change = redis.register_script(_CHANGE)

    def ping(self) -> None:
        """Raise redis' own error if the server does not answer."""
        self._redis.ping()

    def expiry(self) -> datetime:
        """Return when something changed now will be gone."""
        return datetime.now(UTC) + timedelta(seconds=self._keep_seconds)

    def create(self, record: Record) -> bool:
        """Store a new explanation; return False where the same one is queued, running or succeeded already."""
        fields = _flat({name: value for name, value in record.model_dump(mode="json").items() if value is not None})
        arguments: list[Any] = [self._keep_seconds, _EVENTS_KEPT, _event_data(record.id, status=Status.QUEUED), *fields]
        return bool(self._create(keys=[record_key(record.id), events_key(record.id)], args=arguments))

    def read(self, explanation_id: str) -> Record | None:
        """Return an explanation, or None where there is none."""
        found: Any = self._redis.hgetall(record_key(explanation_id))
        if not found:
            return None
        return Record.model_validate({name.decode(): json.loads(value) for name, value in found.items()})

    def start(self, explanation_id: str, execution: str) -> Record | None:
        """Take an explanation over for an execution; None where nothing is left to do."""
        fields = {"status": Status.RUNNING, "execution": execution, "started_at": _now()}
        taken = self._write(explanation_id, (Status.QUEUED, Status.RUNNING), "running", fields)
        return self.read(explanation_id) if taken else None

    def advance(
        self,
        explanation_id: str,
        execution: str,
        *,
        progress: Progress,
        targets: list[TargetResult] | None = None,
        state: State | None = None,
    ) -> bool:
        """Report progress, and with `state` a new checkpoint; return False where the execution must stop."""
        fields: dict[str, Any] = {"progress": progress.model_dump(mode="json")}
        if targets is not None:
            fields["targets"] = [target.model_dump(mode="json") for target in targets]
        if state is not None:
            fields["state"] = state.model_dump(mode="json")
        event = "progress" if state is None else "preview"
        return self._write(explanation_id, (Status.RUNNING,), event, fields, execution=execution)

    def succeed(
        self,
        explanation_id: str,
        execution: str,
        *,
        progress: Progress,
        targets: list[TargetResult],
        state: State,
        provenance: Provenance,
    ) -> bool:
        """Publish a result in one step; return False where the execution no longer owns the explanation."""
        fields = {
            "status": Status.SUCCEEDED,
            "progress": progress.model_dump(mode="json"),
            "targets": [target.model_dump(mode="json") for target in targets],
            "state": state.model_dump(mode="json"),
            "provenance": provenance.model_dump(mode="json"),
        }
        return self._end(explanation_id, (Status.RUNNING,), fields, execution=execution)

    def fail(self, explanation_id: str, failure: Failure, *, execution: str = "") -> bool:
        """Record why an explanation failed; return False where it has ended, or belongs to another execution."""
        fields = {"status": Status.FAILED, "error": failure.model_dump(mode="json")}
        return self._end(explanation_id, (Status.QUEUED, Status.RUNNING), fields, execution=execution)

    def cancel(self, explanation_id: str) -> bool:
        """Cancel an explanation that has not ended; the worker stops at its next report."""
        return self._end(explanation_id, (Status.QUEUED, Status.RUNNING), {"status": Status.CANCELLED})

    def _end(
        self, explanation_id: str, allowed: tuple[Status, ...], fields: dict[str, Any], execution: str = ""
    ) -> bool:
        ended = {**fields, "finished_at": _now()}
        written = self._write(explanation_id, allowed, str(fields["status"]), ended, execution=execution)
        record = self.read(explanation_id) if written else None
        if record is not None:
            self._statistics.count_ended(record)
        return written

    def _write(
        self,
        explanation_id: str,
        allowed: tuple[Status, ...],
        event: str,
        fields: dict[str, Any],
        *,
        execution: str = "",
    ) -> bool:
        fields = {**fields, "expires_at": self.expiry().isoformat()}
        arguments: list[Any] = [
            self._keep_seconds,
            _EVENTS_KEPT,
            event,
            _event_data(explanation_id, **{name: fields[name] for name in ("status", "progress") if name in fields}),
            ",".join(json.dumps(status) for status in allowed),
            json.dumps(execution) if execution else "",
            *_flat(fields),
        ]
        return bool(self._change(keys=[record_key(explanation_id), events_key(explanation_id)], args=arguments))


def with_checkpoint(state: State, checkpoint: Checkpoint) -> State:
    """Return the state after one more checkpoint: appended to the effects, or in the place of older moments."""
    kept = state.checkpoints if state.kind == "effects" else []
    return state.model_copy(update={"checkpoints": [*kept, checkpoint]})


def _flat(fields: Mapping[str, Any]) -> list[str]:
    return [part for name, value in fields.items() for part in (name, json.dumps(value))]


def _event_data(explanation_id: str, **fields: Any) -> str:
    return json.dumps({"id": explanation_id, **fields})


def _now() -> str:
    return datetime.now(UTC).isoformat()
