"""Explanation records in Redis: one hash each, changed only by scripts that check who may change it.

A running explanation belongs to one execution (fencing token). A worker that was partitioned still carries the token of
its old execution, and its writes are refused, as are writes to an explanation that was cancelled meanwhile. Every
change appends an entry to the explanation's event stream, which waiting clients read (`app/explanations/events.py`),
and extends its expiry (`app/explanations/expiry_index.py`). The script that ends an explanation also writes an outbox
entry for each of its callbacks (`webhook_subscriptions.py`), the counters, the index of reusable blocks and the
throughput statistics, so that a crash loses none of them.
"""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from app.contract.audits import audit_id, audited_id, budgeted_request
from app.contract.counters import BUCKETS
from app.contract.explanations.reuse_index import blocks_key
from app.contract.lua_scripts import lua
from app.contract.queue.throughput import FADING, workload_class
from app.contract.redis.keys import (
    COUNTERS,
    DUE,
    OUTBOX,
    PING,
    THROUGHPUT,
    events_key,
    index_key,
    record_key,
    tombstone_key,
    webhooks_key,
)
from app.contract.schemas import (
    AuditResult,
    ExplanationRecord,
    Failure,
    MaskedView,
    Progress,
    Provenance,
    State,
    Status,
    TargetResult,
)
from app.contract.settings import WEBHOOK_GIVE_UP_SECONDS

REMEMBERED_SECONDS = 7 * 86_400  # how long the tombstone of an expired explanation is kept
SLACK_SECONDS = 1.0  # between the end of a record and the sweeping of its blobs

_EVENTS_KEPT = 1000
_CHECKPOINT = "checkpoint:"  # what the names of such fields begin with (`lua/change.lua`)
_PING_SECONDS = 60
_ACTIVE = (Status.QUEUED, Status.RUNNING)
_BOUNDS = json.dumps([*map(str, BUCKETS), "+Inf"])


class ExplanationStore:
    """Reads and changes explanations.

    Args:
        redis: client with byte replies.
        keep_seconds: how long an explanation lives after its last change.
    """

    def __init__(self, redis: Redis, *, keep_seconds: int) -> None:
        self._redis = redis
        self._keep_seconds = keep_seconds
        self._create = redis.register_script(lua("create_explanation"))
        self._change_explanation = redis.register_script(lua("change_explanation"))
        self._end_explanation = redis.register_script(lua("end_explanation"))

    def ping(self) -> None:
        """Raise a `RedisError` if the server does not answer, or accepts no writes."""
        self._redis.set(PING, "pong", ex=_PING_SECONDS)

    def expiry(self) -> datetime:
        """Return when an explanation that is changed now expires."""
        return datetime.now(UTC) + timedelta(seconds=self._keep_seconds)

    def create(self, record: ExplanationRecord) -> bool:
        """Store a new explanation; return False where the same one is queued, running or succeeded already."""
        keys, arguments = self.creation(record)
        return bool(self._create(keys=keys, args=arguments))

    def creation(self, record: ExplanationRecord) -> tuple[list[str], list[Any]]:
        """Return the keys and the arguments of `lua/create_explanation.lua`."""
        fields = _flat({name: value for name, value in record.model_dump(mode="json").items() if value is not None})
        is_listed = audited_id(record.id) is None  # an audit is a part of its explanation
        created = int(record.created_at.timestamp() * 1_000_000) if is_listed else ""
        data = _event_data(record.id, {"status": Status.QUEUED})
        keys = [*self._keys(record.id), index_key(record.tenant)]
        return keys, [record.id, record.tenant, created, *self._lifetime(), _EVENTS_KEPT, data, *fields]

    def read(self, explanation_id: str) -> ExplanationRecord | None:
        """Return an explanation; None if there is none."""
        found: Any = self._redis.hgetall(record_key(explanation_id))
        return parse_record(found)

    def status_of(self, explanation_id: str) -> Status | None:
        """Return the status of an explanation, whose other fields need not be readable; None if there is none."""
        found: Any = self._redis.hget(record_key(explanation_id), "status")
        return None if found is None else Status(json.loads(found))

    def model_of(self, explanation_id: str) -> str | None:
        """Return the id of an explanation's model, whose other fields need not be readable; None if there is none."""
        found: Any = self._redis.hget(record_key(explanation_id), "request")
        return None if found is None else str(json.loads(found)["model"]["id"])

    def read_many(self, explanation_ids: Sequence[str]) -> list[ExplanationRecord | None]:
        """Return explanations in the order of their ids, None for each that does not exist."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for explanation_id in explanation_ids:
                pipeline.hgetall(record_key(explanation_id))
            return [parse_record(found) for found in pipeline.execute()]

    def renew(self, explanation_ids: Iterable[str], *, audited: bool = False) -> None:
        """Postpone the expiry of explanations as if they had changed now; those that are gone are left out.

        Args:
            explanation_ids: which.
            audited: whether it is noted that they have an audit.
        """
        fields = _flat({"audited": True}) if audited else []
        with self._redis.pipeline(transaction=False) as pipeline:
            for explanation_id in explanation_ids:
                keys = self._keys(explanation_id)
                arguments: list[Any] = [
                    json.dumps(self.expiry().isoformat()),
                    *self._lifetime(),
                    explanation_id,
                    *fields,
                ]
                pipeline.eval(lua("renew_explanation"), len(keys), *keys, *arguments)
            pipeline.execute()

    def start(self, explanation_id: str, execution: str) -> ExplanationRecord | None:
        """Give an explanation to an execution; None if it has ended. `started_at` is set by the first one."""
        fields = {"status": Status.RUNNING, "execution": execution}
        taken = self._write(explanation_id, _ACTIVE, "running", fields)
        return self.read(explanation_id) if taken else None

    def is_running(self, explanation_id: str, execution: str) -> bool:
        """Return whether an explanation still belongs to an execution."""
        found: Any = self._redis.hmget(record_key(explanation_id), "status", "execution")
        return list(found) == [json.dumps(Status.RUNNING).encode(), json.dumps(execution).encode()]

    def advance(
        self,
        explanation_id: str,
        execution: str,
        *,
        progress: Progress,
        targets: list[TargetResult] | None = None,
        state: State | None = None,
        views: Sequence[MaskedView] | None = None,
    ) -> bool:
        """Report progress, and with `state` or `views` a new checkpoint; return False where the execution must stop."""
        fields: dict[str, Any] = {"progress": progress.model_dump(mode="json")}
        if targets is not None:
            fields["targets"] = [target.model_dump(mode="json") for target in targets]
        if state is not None:
            fields["state"] = state.model_dump(mode="json")
        if views is not None:
            fields["views"] = [view.model_dump(mode="json") for view in views]
        event = "progress" if state is None else "preview"
        return self._write(explanation_id, (Status.RUNNING,), event, fields, execution=execution)

    def succeed(
        self,
        record: ExplanationRecord,
        execution: str,
        *,
        progress: Progress,
        targets: list[TargetResult],
        state: State,
        provenance: Provenance,
        consistency: float | None = None,
        seconds: float | None = None,
    ) -> bool:
        """Publish a result in one step.

        Args:
            record: the explanation.
            execution: of it.
            progress: its `total` is the budget of masks.
            targets: of the result.
            state: where its effects are, which other explanations may reuse.
            provenance: of the result.
            consistency: of the model's answers; None where they were not compared.
            seconds: that all of its masks took; None if another worker or an earlier execution evaluated some.

        Returns:
            False if the execution no longer owns the explanation.
        """
        fields = {
            "status": Status.SUCCEEDED,
            "progress": progress.model_dump(mode="json"),
            "targets": [target.model_dump(mode="json") for target in targets],
            "state": state.model_dump(mode="json"),
            "provenance": provenance.model_dump(mode="json"),
            "consistency": consistency,
        }
        blocks = state.blocks if state.kind == "effects" else ""
        took = "" if seconds is None else seconds
        kept = [blocks, workload_class(record.request), took, progress.total]
        return self._end(
            record.id, (Status.RUNNING,), fields, execution, keys=[blocks_key(record), THROUGHPUT], kept=kept
        )

    def conclude_audit(
        self,
        record: ExplanationRecord,
        execution: str,
        *,
        progress: Progress,
        audit: AuditResult,
        seconds: float | None,
    ) -> bool:
        """Publish what an audit found in one step.

        Args:
            record: of the audit.
            execution: of it.
            progress: its `total` is the number of passes that were planned.
            audit: the result.
            seconds: that all of its passes took; None if an earlier execution evaluated some.

        Returns:
            False if the execution no longer owns the audit.
        """
        fields = {
            "status": Status.SUCCEEDED,
            "progress": progress.model_dump(mode="json"),
            "audit": audit.model_dump(mode="json"),
        }
        took = "" if seconds is None else seconds
        kept = ["", workload_class(budgeted_request(record)), took, progress.total]
        return self._end(
            record.id, (Status.RUNNING,), fields, execution, keys=[blocks_key(record), THROUGHPUT], kept=kept
        )

    def fail(self, explanation_id: str, failure: Failure, *, execution: str = "") -> bool:
        """Record why an explanation failed; return False if it has ended, or belongs to another execution."""
        fields = {"status": Status.FAILED, "error": failure.model_dump(mode="json")}
        return self._end(explanation_id, _ACTIVE, fields, execution)

    def cancel(self, explanation_id: str) -> bool:
        """Cancel an explanation that has not ended; the worker stops at its next report."""
        return self._end(explanation_id, _ACTIVE, {"status": Status.CANCELLED})

    def _end(
        self,
        explanation_id: str,
        allowed: tuple[Status, ...],
        fields: dict[str, Any],
        execution: str = "",
        *,
        keys: Sequence[str] = (),
        kept: Sequence[Any] = ("", "", "", ""),
    ) -> bool:
        """End an explanation; `keys` and `kept` are those of `lua/end_explanation.lua` for one that succeeds."""
        ended = {**fields, "finished_at": _now()}
        changed, change = self._change(explanation_id, allowed, str(fields["status"]), ended, execution)
        arguments = [_BOUNDS, record_key(""), *kept, FADING, *change]
        return bool(self._end_explanation(keys=[*changed, COUNTERS, *keys], args=arguments))

    def _write(
        self,
        explanation_id: str,
        allowed: tuple[Status, ...],
        event: str,
        fields: dict[str, Any],
        *,
        execution: str = "",
    ) -> bool:
        keys, arguments = self._change(explanation_id, allowed, event, fields, execution)
        return bool(self._change_explanation(keys=keys, args=arguments))

    def _change(
        self, explanation_id: str, allowed: tuple[Status, ...], event: str, fields: dict[str, Any], execution: str
    ) -> tuple[list[str], list[Any]]:
        """Return the keys and the arguments of `lua/change.lua`."""
        fields = {**fields, "expires_at": self.expiry().isoformat()}
        arguments: list[Any] = [
            explanation_id,
            event,
            ",".join(json.dumps(status) for status in allowed),
            *self._lifetime(),
            _EVENTS_KEPT,
            _event_data(explanation_id, fields),
            json.dumps(execution) if execution else "",
            _now(),
            WEBHOOK_GIVE_UP_SECONDS,
            *_flat(fields),
        ]
        return [*self._keys(explanation_id), webhooks_key(explanation_id), OUTBOX], arguments

    def _keys(self, explanation_id: str) -> list[str]:
        return [record_key(explanation_id), events_key(explanation_id), tombstone_key(explanation_id), DUE]

    def _lifetime(self) -> list[float]:
        """Return seconds to live, those of the tombstone, and when the blobs are due for deletion."""
        due = time.time() + self._keep_seconds + SLACK_SECONDS
        return [self._keep_seconds, self._keep_seconds + REMEMBERED_SECONDS, due]


RawRecord = tuple[tuple[bytes, bytes], ...]
"""Fields of an explanation's hash, none where it does not exist; `parse_record` reads them."""


async def read_raw(redis: AsyncRedis, explanation_id: str) -> tuple[RawRecord, RawRecord]:
    """Return an explanation and its audit as they are stored; only one that has an audit takes a second round trip.

    A pipeline of both costs a fifth of all status reads per second.
    """
    explanation: Any = await redis.hgetall(record_key(explanation_id))
    audit: Any = await redis.hgetall(record_key(audit_id(explanation_id))) if b"audited" in explanation else {}
    return tuple(explanation.items()), tuple(audit.items())


def parse_record(found: Mapping[bytes, bytes]) -> ExplanationRecord | None:
    """Return the explanation in a hash; None if the hash is empty."""
    if not found:
        return None
    fields = {name.decode(): json.loads(value) for name, value in sorted(found.items())}
    checkpoints = [value for name, value in fields.items() if name.startswith(_CHECKPOINT)]
    if checkpoints and fields.get("state"):
        fields["state"]["checkpoints"] = checkpoints
    return ExplanationRecord.model_validate(fields)


def _flat(fields: Mapping[str, Any]) -> list[str]:
    """Return names and values of fields; each checkpoint of the state is a field of its own.

    Otherwise each report would write the whole list: 3,600 times into the log of Redis in an hour.
    """
    state = fields.get("state")
    if state is not None:
        checkpoints = {f"{_CHECKPOINT}{checkpoint['first']:08d}": checkpoint for checkpoint in state["checkpoints"]}
        fields = {**fields, "state": {**state, "checkpoints": []}, **checkpoints}
    return [part for name, value in fields.items() for part in (name, json.dumps(value))]


def _event_data(explanation_id: str, fields: Mapping[str, Any]) -> str:
    """Return the data of an event: the changed fields, and for a map the number of its targets and fills."""
    data = {name: fields[name] for name in ("status", "progress", "error") if name in fields}
    if "targets" in fields:
        data["targets"] = len(fields["targets"])
    if "state" in fields:
        data["targets"] = len(fields["state"]["target_rows"])
        data["fills"] = len(fields["state"]["fills"])
    return json.dumps({"id": explanation_id, **data})


def _now() -> str:
    return datetime.now(UTC).isoformat()
