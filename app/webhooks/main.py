"""`rise-serve webhooks`: the process that sends callbacks. Composition root of the dispatcher."""

import asyncio
import logging
import signal

from app.contract.log_context import configure_logs
from app.contract.redis.client import connect
from app.contract.settings import Settings
from app.egress.allowlist import read_permissions
from app.egress.client import ssrf_safe_client
from app.maintenance.periodic import running
from app.webhooks.dispatcher import WebhookDispatcher, WebhookRetryPolicy
from app.webhooks.outbox import Outbox
from app.webhooks.signature import read_secrets

_RECORD_SECONDS = 2.0  # to record the outcome of a delivery


def sends_callbacks(settings: Settings) -> bool:
    """Return whether the operator has allowed hosts and set a secret."""
    return bool(read_permissions(settings)) and bool(read_secrets(settings.webhook_secret.get_secret_value()))


def run_webhooks(settings: Settings) -> None:
    """Send callbacks until SIGINT or SIGTERM.

    Raises:
        ValueError: if no secret is set, or a setting cannot be read.
    """
    configure_logs(settings.log_format, settings.log_level)
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # because it logs addresses, and those may carry tokens
    if not sends_callbacks(settings):
        raise ValueError("set RISE_WEBHOOK_SECRET, and RISE_ALLOWED_HOSTS to the hosts that may receive callbacks")
    asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    retry_policy = WebhookRetryPolicy(pause=settings.callback_pause_seconds, give_up=settings.callback_give_up_seconds)
    secrets = read_secrets(settings.webhook_secret.get_secret_value())
    async with ssrf_safe_client(read_permissions(settings), seconds=retry_policy.answer) as client:
        outbox = Outbox(connect(settings.redis_url))
        dispatcher = WebhookDispatcher(outbox, client, secrets, settings.public_url, retry_policy)
        async with running(dispatcher.task(), grace_seconds=retry_policy.answer + _RECORD_SECONDS):
            await stopping.wait()
