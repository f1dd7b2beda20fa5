"""A torture test: the service at work while it is broken on purpose, for as long as one likes (`make torture`).

Several front ends and workers stand around one Valkey and one S3 server (`stage.py`). Clients ask for explanations of
all kinds and look at them at changing front ends (`clients.py`, `requests.py`), while processes are killed, stopped,
frozen and cut off, and servers fall away or silent, by a schedule that is a function of the seed (`schedule.py`,
`faults.py`). When the faults have stopped and a bounded time has passed, everything that was accepted must have ended
as it does when nobody disturbs it: with the very map, or with the very failure (`truth.py`, `ledger.py`).

What hangs on the machine's speed, such as what a fault meets, is not the same twice; the faults and the requests are.
"""
