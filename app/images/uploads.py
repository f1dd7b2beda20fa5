"""Uploaded images, which later requests name by id; an image is visible to its own tenant only."""

import hashlib
from datetime import UTC, datetime

from app.contract.errors import FieldError, RiseError
from app.contract.storage.object_store import BlobStore, upload_blob, upload_folder
from app.images.source import ById
from app.images.upload_register import Upload, UploadRegister
from app.images.validation import ValidatedImage

_GONE = {"not-found", "expired"}


class Uploads:
    """Stores images by id."""

    def __init__(self, register: UploadRegister, blobs: BlobStore) -> None:
        self._register = register
        self._blobs = blobs

    def keep(self, tenant: str, image: ValidatedImage) -> Upload:
        """Keep an image; the same one again is kept for longer.

        The bytes are stored before the register has them, and again each time, because the garbage collector may just
        have deleted them.

        Raises:
            RiseError: `storage-unavailable`.
        """
        upload_id = hashlib.sha256(f"{tenant}\n{image.info.sha256}".encode()).hexdigest()[:32]
        self._blobs.put(upload_blob(upload_id), image.content)
        now = datetime.now(UTC)
        known = self._register.read(upload_id)
        upload = Upload(
            id=upload_id, tenant=tenant, image=image.info, size=len(image.content), created_at=now, expires_at=now
        )
        return self._register.keep(known or upload)

    def find(self, tenant: str, upload_id: str) -> Upload:
        """Return an upload.

        Raises:
            RiseError: `not-found`, also for an image of another tenant.
        """
        upload = self._register.read(upload_id)
        if upload is None or upload.tenant != tenant:
            raise RiseError("not-found", f"there is no image {upload_id!r}")
        return upload

    def content(self, tenant: str, source: ById) -> bytes:
        """Return the bytes of an image that a request names, and postpone its expiry.

        Raises:
            RiseError: `unknown-name`, pointing at the field that names it; `storage-unavailable`.
        """
        try:
            upload = self.find(tenant, source.id)
            content = self._blobs.get(upload_blob(upload.id))
        except RiseError as cause:
            if cause.code not in _GONE:
                raise
            detail = f"there is no image {source.id!r} (any more); upload it with POST /v1/images"
            errors = [FieldError(source.field, detail)]
            raise RiseError("unknown-name", f"{source.field.lstrip('/')}: {detail}", errors=errors) from cause
        self._register.keep(upload)
        return content

    def remove(self, tenant: str, upload_id: str) -> None:
        """Remove an image; explanations of it keep their own copy.

        The bytes are deleted first: while the storage is unavailable the image stays, and can be removed later.

        Raises:
            RiseError: `not-found`, `storage-unavailable`.
        """
        upload = self.find(tenant, upload_id)
        self._blobs.delete_all(upload_folder(upload.id))
        self._register.forget(upload.id)
