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
from rq.results import Result

from app.contract.queue.jobs import RETRIES
from app.contract.schemas import Failure

_NOTE = "ended:"
_ANSWER_SECONDS = 60

# Only where the job is still there: a hash of notes alone would pass for a job.
_NOTE_IF_THERE = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
return redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
"""

# KEYS: started jobs. ARGV: now, attempts that a job has after a loss, what notes begin with. How far an explanation was
# at the last loss stands in its job's own hash and goes with it.
_FORGIVE = """
for _, entry in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])) do
  local id = string.match(entry, '^[^:]+')
  local job, state = 'rq:job:' .. id, redis.call('HGET', 'rise:explanation:' .. id, 'state')
  local noted = redis.call('HEXISTS', job, ARGV[3] .. (redis.call('HGET', job, 'retries_left') or '')) == 1
  if state and not noted and redis.call('HEXISTS', job, 'data') == 1 then
    local blocks = 0
    for _, checkpoint in ipairs(cjson.decode(state)['checkpoints']) do blocks = blocks + checkpoint['count'] end
    if blocks > (tonumber(redis.call('HGET', job, 'blocks_at_loss')) or 0) then
      redis.call('HSET', job, 'retries_left', ARGV[2], 'blocks_at_loss', blocks)
      for left = 0, tonumber(ARGV[2]) do redis.call('HDEL', job, ARGV[3] .. left) end
    end
  end
end
"""


class AttemptLog:
    """Notes and judges attempts that ended badly.

    Args:
        redis: client with byte replies.
        started: the jobs of a queue that run.
    """

    def __init__(self, redis: Redis, started: StartedJobRegistry) -> None:
        self._redis = redis
        self._started = started
        self._note_if_there = redis.register_script(_NOTE_IF_THERE)
        self._forgive = redis.register_script(_FORGIVE)

    def note(self, job_id: str, attempt: str, failure: Failure) -> None:
        """Write down why an attempt ended."""
        self._note_if_there(keys=[Job.key_for(job_id)], args=[f"{_NOTE}{attempt}", failure.model_dump_json()])

    def is_noted(self, job_id: str, attempt: str) -> bool:
        """Return whether it is known why an attempt ended."""
        return bool(self._redis.hexists(Job.key_for(job_id), f"{_NOTE}{attempt}"))

    def notes(self, job_id: str) -> list[Failure]:
        """Return why attempts ended, the last one first, as far as that is known."""
        fields: Any = self._redis.hgetall(Job.key_for(job_id))
        # In the order of names, because fewer attempts are left after a later one.
        return [Failure.model_validate_json(fields[name]) for name in sorted(fields) if name.startswith(_NOTE.encode())]

    def forgive(self) -> None:
        """Give jobs whose worker was lost all attempts again, if they had come further since the loss before.

        Call it before the registry of what runs is cleaned up.
        """
        arguments: list[Any] = [time.time(), RETRIES, _NOTE]
        self._forgive(keys=[self._started.key], args=arguments)

    def lose(self, execution: Execution) -> None:
        """Let an execution count as lost, as if no heartbeat came any more."""
        self._redis.zadd(self._started.key, {execution.composite_key: 1}, xx=True)

    def answer(self, job: Job, execution: Execution, failure: Failure) -> None:
        """Tell whoever waits for the answer of a short call what became of it; nobody tries it again."""
        with self._redis.pipeline() as pipeline:
            Result.create(job, Result.Type.SUCCESSFUL, _ANSWER_SECONDS, failure.model_dump(), pipeline=pipeline)
            pipeline.zrem(self._started.key, execution.composite_key)
            pipeline.expire(job.key, _ANSWER_SECONDS)
            pipeline.execute()
