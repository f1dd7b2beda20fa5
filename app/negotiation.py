"""Which format of a map a client wants: by the ending of the address, or by `Accept`."""

from app.contract.errors import RiseError
from app.formats import formats


def split_name(name: str) -> tuple[str, str | None]:
    """Split `0.overlay.png` into what is shown and a known ending, None where there is none."""
    for ending in sorted(formats(), key=len, reverse=True):
        if name.endswith(f".{ending}"):
            return name.removesuffix(f".{ending}"), ending
    return name, None


def accepted(accept: str | None) -> str:
    """Return the ending of the first format that a client accepts.

    Raises:
        RiseError: `not-acceptable`.
    """
    wanted = [part.partition(";")[0].strip() for part in (accept or "*/*").split(",")]
    by_type = {module.MEDIA_TYPE: ending for ending, module in formats().items()}
    by_type |= {"*/*": "npy", "application/*": "npy", "image/*": "png"}
    for media_type in wanted:
        if media_type in by_type:
            return by_type[media_type]
    raise RiseError("not-acceptable", f"a map comes as {', '.join(media_types())}")


def media_types() -> list[str]:
    """Return the media types of all formats, sorted."""
    return sorted({module.MEDIA_TYPE.partition(";")[0] for module in formats().values()})
