"""Whether the process of this container does its work: `python -m app.healthy api|worker|webhooks`.

The one place for health checks that containers run inside themselves; Dockerfiles, Compose and Kubernetes call it.
"""

import socket
import sys
import urllib.request

from redis import Redis
from redis.exceptions import RedisError

from app.contract.announcements import announcements
from app.contract.settings import Settings

_SECONDS = 4.0


def api(settings: Settings) -> bool:
    """Return whether the front end answers."""
    with urllib.request.urlopen(f"http://127.0.0.1:{settings.port}/livez", timeout=_SECONDS) as answer:
        return bool(answer.status == 200)


def worker(settings: Settings) -> bool:
    """Return whether the worker of this host is announced; a server that is away is not the worker's fault."""
    try:
        names = [one.worker for one in announcements(_connect(settings))]
    except RedisError:
        return True
    return any(name.startswith(f"{socket.gethostname()}-") for name in names)


def webhooks(settings: Settings) -> bool:
    """Return whether the outbox can be reached; what is late in it is an alarm (`RiseCallbacksLate`)."""
    return bool(_connect(settings).ping())


def _connect(settings: Settings) -> Redis:
    return Redis.from_url(settings.redis_url, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS)


CHECKS = {"api": api, "worker": worker, "webhooks": webhooks}


def main() -> None:
    """Run the check that the command line names; an error is a traceback, and that ends with 1 too."""
    if not CHECKS[sys.argv[1]](Settings()):
        sys.exit(f"{sys.argv[1]}: not healthy")


if __name__ == "__main__":
    main()
