"""Whether the process of this container does its work: `python -m app.cli.healthcheck api|worker|webhooks`.

The one place for health checks that containers run inside themselves; Dockerfiles, Compose and Kubernetes call it and
give it ten seconds, of which Python takes one to start.
"""

import socket
import sys
import urllib.request

from redis import Redis
from redis.exceptions import RedisError

from app.contract.redis.client import connect
from app.contract.settings import Settings
from app.contract.worker_registry import announcements

_HTTP_SECONDS = 4.0
_ANSWER_SECONDS = 2.0  # of Redis
_RETRY_SECONDS = 1.0


def api(settings: Settings) -> bool:
    """Return whether the front end answers."""
    with urllib.request.urlopen(f"http://127.0.0.1:{settings.port}/livez", timeout=_HTTP_SECONDS) as answer:
        return bool(answer.status == 200)


def worker(settings: Settings) -> bool:
    """Return whether the worker of this host is announced; a server that is away is not the worker's fault."""
    redis = _redis(settings)
    try:
        names = [one.worker for one in announcements(redis)]
    except RedisError:
        return True
    return any(name.startswith(f"{socket.gethostname()}-") for name in names)


def webhooks(settings: Settings) -> bool:
    """Return whether the outbox can be reached; what is late in it is an alarm (`RiseCallbacksLate`)."""
    return bool(_redis(settings).ping())


def _redis(settings: Settings) -> Redis:
    return connect(settings.redis_url, seconds=_RETRY_SECONDS, answer_seconds=_ANSWER_SECONDS)


CHECKS = {"api": api, "worker": worker, "webhooks": webhooks}


def main() -> None:
    """Run the check that the command line names; end with 1 and a sentence where it fails."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in CHECKS:
        sys.exit(f"{name}: there is no such check; choose from: {', '.join(CHECKS)}")
    try:
        healthy = CHECKS[name](Settings())
    except Exception as error:  # because whatever stops a check is what its reader has to know, in one line
        sys.exit(f"{name}: not healthy: {error or type(error).__name__}")
    if not healthy:
        sys.exit(f"{name}: not healthy")


if __name__ == "__main__":
    main()
