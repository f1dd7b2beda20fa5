"""`python -m tests.support.liveness_probe URL` prints the slowest answer of `/livez` in seconds."""

import select
import sys
import time

import httpx2

_PAUSE_SECONDS = 0.02


def main(url: str) -> None:
    slowest = 0.0
    with httpx2.Client(base_url=url, timeout=60) as client:
        while not select.select([sys.stdin], [], [], _PAUSE_SECONDS)[0]:
            started = time.perf_counter()
            client.get("/livez").raise_for_status()
            slowest = max(slowest, time.perf_counter() - started)
    sys.stdout.write(f"{slowest}\n")


if __name__ == "__main__":
    main(sys.argv[1])
