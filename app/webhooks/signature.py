"""Signatures of callbacks by the Standard Webhooks specification: HMAC-SHA256 over id, timestamp and body."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

_PREFIX = "whsec_"
_MIN_SECRET_BYTES = 24  # by the specification


def read_secrets(text: str) -> tuple[bytes, ...]:
    """Read a comma-separated list of secrets: plain text, or base64 after `whsec_`. All of them sign.

    Raises:
        ValueError: for one that is too short or no base64; the secret is not repeated.
    """
    secrets = tuple(_secret(part.strip()) for part in text.split(",") if part.strip())
    if any(len(secret) < _MIN_SECRET_BYTES for secret in secrets):
        raise ValueError(f"RISE_WEBHOOK_SECRET: a secret has at least {_MIN_SECRET_BYTES} bytes")
    return secrets


def _secret(text: str) -> bytes:
    if not text.startswith(_PREFIX):
        return text.encode()
    try:
        return base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("RISE_WEBHOOK_SECRET: what follows whsec_ is not base64") from None


def sign(secrets: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """Return the `webhook-signature`: one signature for each secret, so that secrets can be rotated."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digests = (hmac.new(secret, signed, hashlib.sha256).digest() for secret in secrets)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)
