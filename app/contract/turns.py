"""Whose turn it is: where in a queue a new job is put.

Workers take from one end of one RQ list, because only that is atomic; so the order is made where jobs are put in.
Each waiting explanation carries a start tag, as in start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996): the
work, in seconds, that its tenant has waiting before it, counted from where the queue is now. The list is sorted by
lane (interactive before batch), then by tag: tenants take turns in proportion to work, and whoever comes with one
explanation waits for at most one of everybody else's, however many those have. Batch work waits for as long as anything
interactive does. A tenant of whom nothing waits any more starts anew where the queue is: what it had before is not
held against it, nor what it took back.

Nothing is kept beside the queue: tags stand in the job's own hash and go with it, and where the queue is now is the
smallest tag that waits. There is no counter that a crash could leave wrong, and no second step that could be missed:
job and place are written in one transaction. What is put at the front (short calls, jobs that come back from a lost or
leaving worker) has had its turn and stays there.
"""

from dataclasses import dataclass
from typing import Any, Literal

from redis import Redis

Priority = Literal["interactive", "batch"]
_LANES: dict[Priority, int] = {"interactive": 1, "batch": 2}

# KEYS: the queue. ARGV: job, lane, tenant, seconds, work, masks. Also moves a waiting job to a better lane, and does
# nothing to one that has left the queue. Looks from the end as far as to the tenant's last job: because start tags of
# one tenant only grow, that is the one that counts, and the new job stands behind it; so a queue that one tenant fills
# costs the same however long it is.
_PLACE = """
local queue, id, lane, tenant = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3]
local job = 'rq:job:' .. id
local present = tonumber(redis.call('HGET', job, 'lane'))
if present and present <= lane then return end
if redis.call('LREM', queue, -1, id) == 0 then return end

local waiting, before, now, last = redis.call('LRANGE', queue, 0, -1), 0, nil, nil
local lanes, starts, place = {}, {}, #waiting
while place > 0 and not last do
  local turn = redis.call('HMGET', 'rq:job:' .. waiting[place], 'lane', 'start', 'finish', 'tenant')
  lanes[place], starts[place] = tonumber(turn[1]) or 0, tonumber(turn[2]) or 0
  if lanes[place] == lane then
    now = math.min(now or starts[place], starts[place])
    if turn[4] == tenant then last = tonumber(turn[3]) end
  end
  place = place - 1
end
local start = last or now or 0

for seen = #waiting, place + 1, -1 do
  if lanes[seen] < lane or (lanes[seen] == lane and starts[seen] <= start) then
    before = seen
    break
  end
end
if before > 0 then
  redis.call('LINSERT', queue, 'AFTER', waiting[before], id)
else
  redis.call('LPUSH', queue, id)
end
redis.call('HSET', job, 'lane', lane, 'tenant', tenant, 'start', string.format('%.17g', start),
  'finish', string.format('%.17g', start + ARGV[4]), 'work', ARGV[5], 'masks', ARGV[6])
return before
"""


@dataclass(frozen=True)
class Turn:
    """What decides where an explanation waits.

    Attributes:
        tenant: who takes turns with others.
        priority: interactive goes before batch.
        seconds: estimated work.
        work: what it is, for later estimates (`pace.py`).
        masks: how many it asks for.
    """

    tenant: str
    priority: Priority = "interactive"
    seconds: float = 1.0
    work: str = ""
    masks: int = 0


def place(redis: Redis, queue_key: str, job_id: str, turn: Turn) -> Any:
    """Move a job that stands in a queue to where its turn is. Inside a transaction, part of it.

    Args:
        redis: a client, or a pipeline.
        queue_key: the queue's list.
        job_id: a job in it that has no place yet; one that has moves only to a better lane.
        turn: whose it is.

    Returns:
        How many jobs stand before it; None where it has not moved. Of a pipeline, what the pipeline says.
    """
    arguments = (job_id, _LANES[turn.priority], turn.tenant, turn.seconds, turn.work, turn.masks)
    return redis.eval(_PLACE, 1, queue_key, *map(str, arguments))
