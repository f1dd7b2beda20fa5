"""Attempts at jobs that ended badly: which of them count, and what was said of them.

An explanation that ends its workers must not end one after the other for ever: after a few attempts it fails. But one
that had come further before its worker was lost has not done it, and begins to count anew: where machines come and go,
a long explanation may lose any number of workers. What is known to have hung, or to have broken its device, counts
always. Why an attempt ended is noted in the job's own hash, under the number of attempts that were left, and goes with
it.
"""

import time
from typing import Any

from redis import Redis
from rq.executions import Execution
from rq.job import Job
from rq.registry import StartedJobRegistry

from app.contract.queue.jobs import RETRIES
from app.contract.queue.rq_compat import JOB_PREFIX, answer_call, expire_execution, job_key
from app.contract.redis.keys import record_key
from app.contract.schemas import Failure
from app.contract.scripts import lua

_NOTE = "ended:"
_ANSWER_SECONDS = 60


class AttemptLog:
    """Notes and judges attempts that ended badly.

    Args:
        redis: client with byte replies.
        started: the jobs of a queue that run.
    """

    def __init__(self, redis: Redis, started: StartedJobRegistry) -> None:
        self._redis = redis
        self._started = started
        self._note_if_there = redis.register_script(lua("note_attempt"))
        self._forgive = redis.register_script(lua("forgive_attempts"))

    def note(self, job_id: str, attempt: str, failure: Failure) -> None:
        """Write down why an attempt ended."""
        self._note_if_there(keys=[job_key(job_id)], args=[f"{_NOTE}{attempt}", failure.model_dump_json()])

    def is_noted(self, job_id: str, attempt: str) -> bool:
        """Return whether it is known why an attempt ended."""
        return bool(self._redis.hexists(job_key(job_id), f"{_NOTE}{attempt}"))

    def notes(self, job_id: str) -> list[Failure]:
        """Return why attempts ended, the last one first, as far as that is known."""
        fields: Any = self._redis.hgetall(job_key(job_id))
        # In the order of names, because fewer attempts are left after a later one.
        return [Failure.model_validate_json(fields[name]) for name in sorted(fields) if name.startswith(_NOTE.encode())]

    def forgive(self) -> None:
        """Give jobs whose worker was lost all attempts again, if they had come further since the loss before.

        Call it before the registry of what runs is cleaned up.
        """
        arguments: list[Any] = [time.time(), RETRIES, _NOTE, JOB_PREFIX, record_key("")]
        self._forgive(keys=[self._started.key], args=arguments)

    def lose(self, execution: Execution) -> None:
        """Let an execution count as lost, as if no heartbeat came any more."""
        expire_execution(self._redis, self._started, execution)

    def answer(self, job: Job, execution: Execution, failure: Failure) -> None:
        """Tell whoever waits for the answer of a short call what became of it; nobody tries it again."""
        answer_call(self._started, job, execution, failure.model_dump(), _ANSWER_SECONDS)
