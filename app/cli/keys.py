"""`rise-serve keys`: make, list and revoke API keys."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from pydantic import ValidationError
from redis.exceptions import RedisError
from rich.console import Console
from rich.table import Table

from app.auth.api_keys import ApiKey, ApiKeyStore, Limits, Scope
from app.cli.single_machine.up import discover_local_redis
from app.contract.redis.client import connect, describe_error
from app.contract.settings import Settings

keys_cli = typer.Typer(no_args_is_help=True, help=__doc__)


@contextmanager
def _keys() -> Iterator[ApiKeyStore]:
    """Give the keys of the server at REDIS_URL, or else of the `rise-serve up` that runs on this machine."""
    settings = Settings()
    try:
        redis = connect(discover_local_redis(settings) or settings.redis_url)
    except ValueError as cause:
        sys.stderr.write(f"rise-serve: REDIS_URL: {cause}\n")
        raise typer.Exit(1) from cause
    try:
        yield ApiKeyStore(redis)
    except RedisError as cause:
        sys.stderr.write(f"rise-serve: {describe_error(cause)} ({cause}); start the service, or set REDIS_URL\n")
        raise typer.Exit(1) from cause


@keys_cli.command()
def add(
    name: Annotated[str, typer.Argument(help="What the key is called in the list.")],
    tenant: Annotated[str | None, typer.Option(help="Whose explanations it makes and sees; default: the name.")] = None,
    scope: Annotated[list[str] | None, typer.Option(help="explain, read or admin; may be repeated.")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(help="Default: no limit.")] = None,
    max_pending: Annotated[int | None, typer.Option(help="Explanations queued and running; default: no limit.")] = None,
    expires_in_days: Annotated[float | None, typer.Option(min=0, help="Default: never.")] = None,
) -> None:
    """Make a key and print its secret, once. What is printed beside it goes to the error stream."""
    now = datetime.now(UTC)
    try:
        scopes: list[Scope] = scope or ["explain", "read"]  # type: ignore[assignment] # because ApiKey checks them
        key = ApiKey(
            name=name,
            tenant=tenant or name,
            scopes=scopes,
            limits=Limits(requests_per_minute=requests_per_minute, max_pending=max_pending),
            created_at=now,
            expires_at=None if expires_in_days is None else now + timedelta(days=expires_in_days),
        )
    except ValidationError as cause:
        for error in cause.errors():
            sys.stderr.write(f"rise-serve: {'/'.join(map(str, error['loc']))}: {error['msg']}\n")
        raise typer.Exit(2) from cause
    with _keys() as keys:
        secret = keys.add(key)
    sys.stderr.write(f"A key of tenant {key.tenant!r} for {', '.join(key.scopes)}; it is not shown again:\n")
    sys.stdout.write(f"{secret}\n")


@keys_cli.command("list")
def list_keys(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List all keys; their secrets are not known here."""
    with _keys() as keys:
        found = keys.all()
    if as_json:
        listed = [{"id": name, **key.model_dump(mode="json")} for name, key in found.items()]
        sys.stdout.write(json.dumps(listed) + "\n")
        return
    table = Table("id", "name", "tenant", "scopes", "per minute", "pending", "expires")
    for key_id, key in found.items():
        limits = [str(limit or "-") for limit in (key.limits.requests_per_minute, key.limits.max_pending)]
        expires = "never" if key.expires_at is None else f"{key.expires_at:%Y-%m-%d %H:%M} UTC"
        table.add_row(key_id, key.name, key.tenant, " ".join(key.scopes), *limits, expires)
    Console().print(table)


@keys_cli.command()
def revoke(key_id: Annotated[str, typer.Argument(help="Id from `rise-serve keys list`.")]) -> None:
    """Revoke a key; the next request with it is refused."""
    with _keys() as keys:
        revoked = keys.revoke(key_id)
    if not revoked:
        sys.stderr.write(f"rise-serve: there is no key {key_id!r}; see `rise-serve keys list`\n")
        raise typer.Exit(1)
