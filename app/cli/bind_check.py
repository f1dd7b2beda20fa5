"""Who can reach the front end, and whether that was meant."""

import ipaddress
from collections.abc import Callable

from app.cli.single_machine.managed_process import StartupError
from app.contract.settings import Settings


def require_auth_on_public_bind(settings: Settings, say: Callable[[str], None]) -> None:
    """Refuse to serve a network without API keys, unless the operator has said so; then say it loudly.

    Raises:
        StartupError: with what to set.
    """
    if is_loopback(settings.host) or settings.keys == "on":
        return
    if settings.keys is None:
        raise StartupError(
            f"{settings.host} is more than this machine: set RISE_KEYS=on and make a key with `rise-serve keys add`, "
            "or RISE_KEYS=off if everybody who can reach this address may use the service"
        )
    say(f"WARNING: everybody who can reach {settings.host}:{settings.port} may use this service (RISE_KEYS=off)")


def is_loopback(host: str) -> bool:
    """Return whether an address can be reached from this machine only; a name other than localhost counts as more."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
