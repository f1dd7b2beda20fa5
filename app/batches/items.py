"""The images of a new batch: the files of an archive, or a list of addresses and ids."""

from typing import IO, Any

from app.batches.store import BatchItem
from app.batches.zip_reader import list_images
from app.contract.errors import RiseError, invalid_field
from app.contract.settings import Settings

_NAME_LENGTH = 200


def items_of_archive(file: IO[bytes], settings: Settings) -> list[BatchItem]:
    """Return an item for each file of an archive; those that break a rule have their error already.

    Raises:
        RiseError: what `list_images` raises.
    """
    return [
        BatchItem(index=index, name=entry.name, kind="entry", source=str(entry.place), error=entry.problem)
        for index, entry in enumerate(list_images(file, settings))
    ]


def items_of_list(images: Any, settings: Settings) -> list[BatchItem]:
    """Return an item for each image of a request's list.

    Raises:
        RiseError: `invalid-parameters` or `batch-too-large`.
    """
    if not isinstance(images, list) or not images:
        raise invalid_field("/images", 'write it as [{"url": "https://..."}, {"id": "..."}]')
    if len(images) > settings.max_batch_images:
        detail = f"{len(images)} images were sent; at most {settings.max_batch_images} are allowed"
        raise RiseError("batch-too-large", detail)
    return [_item(index, image) for index, image in enumerate(images)]


def _item(index: int, image: Any) -> BatchItem:
    given = dict(image) if isinstance(image, dict) else {}
    name = given.pop("name", None)
    kind, source = next(iter(given.items())) if len(given) == 1 else (None, None)
    if not isinstance(source, str) or kind not in {"url", "id"}:
        raise invalid_field(
            f"/images/{index}", 'write it as {"url": "https://..."} or {"id": "..."}, with a "name" or not'
        )
    if name is not None and not (isinstance(name, str) and 0 < len(name) <= _NAME_LENGTH):
        raise invalid_field(f"/images/{index}/name", f"a name is a text of 1 to {_NAME_LENGTH} characters")
    return BatchItem(index=index, name=name or source[:_NAME_LENGTH], kind=kind, source=source)
