"""Static files, read once, under addresses that change with their content."""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).with_name("static")

_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class Asset:
    """One static file.

    Attributes:
        content: its bytes.
        media_type: its `Content-Type`.
        etag: of its content.
    """

    content: bytes
    media_type: str
    etag: str


@dataclass(frozen=True)
class AssetBundle:
    """All static files.

    Attributes:
        digest: of all of them together. It is a folder in their addresses, so that modules import each other by
            relative addresses and no page mixes files of two versions.
        assets: by path within the folder.
    """

    digest: str
    assets: dict[str, Asset]


@cache  # because files do not change while a process lives
def bundle() -> AssetBundle:
    """Return all static files."""
    paths = [path for path in sorted(FOLDER.rglob("*.*")) if path.suffix in _MEDIA_TYPES]
    assets = {path.relative_to(FOLDER).as_posix(): _read(path) for path in paths}
    names = "".join(f"{name}:{asset.etag}\n" for name, asset in assets.items())
    return AssetBundle(hashlib.sha256(names.encode()).hexdigest()[:16], assets)


def _read(path: Path) -> Asset:
    content = path.read_bytes()
    return Asset(content, _MEDIA_TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')


def page(name: str, *, root: str) -> bytes:
    """Return an HTML file with the addresses of its assets filled in.

    Args:
        name: of the file.
        root: relative address of the service's root, as seen from the page: `./` or `../../`.
    """
    files = bundle()
    folder = f"{root}assets/{files.digest}/"
    modules = [path for path in files.assets if path.endswith(".js") and not path.startswith(("main", "embed"))]
    preloads = "\n".join(f'  <link rel="modulepreload" href="{folder}{path}">' for path in modules)
    text = files.assets[name].content.decode()
    return text.replace("<!-- modules -->", preloads.strip()).replace("{assets}/", folder).encode()
