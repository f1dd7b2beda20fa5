"""The address of a model's server, as it is checked and as words may show it."""

from urllib.parse import urlsplit, urlunsplit


def shown(url: str) -> str:
    """Return an address without what may be secret: user, password and query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def check_address(url: str) -> None:
    """Check that a source is an address.

    Raises:
        ValueError: if it is none, or carries a password.
    """
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise ValueError(f"source = {url.rpartition('@')[2]!r}: write it as http://host:port/...")
    if "@" in parts.netloc:
        words = "name no user and password in the address; put a header into options.headers_from_environment"
        raise ValueError(f"source = {shown(url)!r}: {words}")
