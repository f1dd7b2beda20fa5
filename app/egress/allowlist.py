"""Which addresses clients may name: the hosts that the operator allowed, over https, without credentials."""

import re
from dataclasses import dataclass

import httpx2

from app.contract.settings import Settings

_ENTRY = re.compile(r"(?P<name>\*|(?:\*\.)?[a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")
_PORTS = {"https": 443, "http": 80}
_MAX_URL_LENGTH = 2048


class UrlNotAllowed(Exception):  # noqa: N818 - read by the client that named the address
    """A URL may not be requested; the message says why."""


@dataclass(frozen=True)
class HostRule:
    """One entry of the operator's list.

    Attributes:
        name: a host's name or numeric address, `*.example.com` for every name below it, or `*` for every name.
        port: None for the scheme's own.
    """

    name: str
    port: int | None

    def matches(self, name: str, port: int | None) -> bool:
        """Return whether this entry covers a URL's host and port (None: the scheme's own)."""
        if self.port != port:
            return False
        return self.name in {"*", name} or (self.name.startswith("*.") and name.endswith(self.name[1:]))


@dataclass(frozen=True)
class HostAllowlist:
    """The hosts that may be requested.

    Attributes:
        allowed: over https, and only at public addresses.
        trusted: also over http, and at any address.
    """

    allowed: tuple[HostRule, ...] = ()
    trusted: tuple[HostRule, ...] = ()

    def __bool__(self) -> bool:
        """Return whether any host is allowed."""
        return bool(self.allowed or self.trusted)

    def trusts(self, url: httpx2.URL) -> bool:
        """Return whether a URL's host is trusted, so that its address is not checked."""
        return any(host.matches(name_of(url), _port_of(url)) for host in self.trusted)

    def permitted(self, text: str) -> httpx2.URL:
        """Return the URL in a text.

        Raises:
            UrlNotAllowed: if it may not be requested, or is no URL.
        """
        if not self:
            raise UrlNotAllowed("this service asks no other host: its operator has allowed none (RISE_ALLOWED_HOSTS)")
        url = _parsed(text)
        if self.trusts(url):
            return url
        if url.scheme != "https":
            raise UrlNotAllowed("only https:// is allowed")
        if not any(host.matches(name_of(url), _port_of(url)) for host in self.allowed):
            raise UrlNotAllowed(f"the operator has not allowed the host {url.netloc.decode()!r}")
        return url


def name_of(url: httpx2.URL) -> str:
    """Return a URL's host as it is resolved: ASCII, lower case, without brackets."""
    return url.raw_host.decode().lower()


def _port_of(url: httpx2.URL) -> int | None:
    return None if url.port == _PORTS.get(url.scheme) else url.port


def _parsed(text: str) -> httpx2.URL:
    if len(text) > _MAX_URL_LENGTH:
        raise UrlNotAllowed(f"an address has at most {_MAX_URL_LENGTH} characters")
    try:
        url = httpx2.URL(text)
    except (httpx2.InvalidURL, ValueError) as cause:
        raise UrlNotAllowed("this is not a URL") from cause
    if url.scheme not in _PORTS or not url.host:
        raise UrlNotAllowed("write it as https://host/path")
    if url.userinfo:
        raise UrlNotAllowed("credentials do not belong into a URL")
    return url


def read_hosts(text: str) -> tuple[HostRule, ...]:
    """Read a comma-separated list: `example.com, *.example.org, 127.0.0.1:8123, [::1]:8123`.

    Raises:
        ValueError: for an entry that is none of these.
    """
    return tuple(_read_host(entry) for entry in text.lower().replace(",", " ").split())


def read_permissions(settings: Settings) -> HostAllowlist:
    """Return the hosts that the operator's settings allow and trust.

    Raises:
        ValueError: for an entry that is no host.
    """
    return HostAllowlist(read_hosts(settings.allowed_hosts), read_hosts(settings.trusted_hosts))


def _read_host(entry: str) -> HostRule:
    found = _ENTRY.fullmatch(entry)
    if found is None:
        raise ValueError(f"{entry!r} is not a host: write example.com, *.example.com or example.com:8443")
    return HostRule(found["name"].strip("[]"), int(found["port"]) if found["port"] else None)
