"""The register of uploaded images in Redis: size, hash, owner and expiry of each."""

from datetime import UTC, datetime, timedelta
from typing import Any

from redis import Redis

from app.contract.redis.keys import upload_key
from app.contract.schemas import ImageInfo, StoredModel


class Upload(StoredModel):
    """An image that requests may name by its id.

    Its id is a hash of its bytes and its tenant: the same image uploaded twice is one, and an id does not reveal what
    other tenants have uploaded.
    """

    id: str
    tenant: str
    image: ImageInfo
    size: int
    created_at: datetime
    expires_at: datetime


class UploadRegister:
    """Stores what is known of uploaded images.

    Args:
        redis: client with byte replies.
        keep_seconds: how long an image is kept after its last use.
    """

    def __init__(self, redis: Redis, *, keep_seconds: int) -> None:
        self._redis = redis
        self._keep_seconds = keep_seconds

    def keep(self, upload: Upload) -> Upload:
        """Store an upload, or postpone its expiry; return it with the new one."""
        kept = upload.model_copy(update={"expires_at": datetime.now(UTC) + timedelta(seconds=self._keep_seconds)})
        self._redis.set(upload_key(upload.id), kept.model_dump_json(), ex=self._keep_seconds)
        return kept

    def read(self, upload_id: str) -> Upload | None:
        """Return an upload; None if there is none."""
        value: Any = self._redis.get(upload_key(upload_id))
        return None if value is None else Upload.model_validate_json(value)

    def forget(self, upload_id: str) -> None:
        """Delete an upload from the register."""
        self._redis.delete(upload_key(upload_id))
