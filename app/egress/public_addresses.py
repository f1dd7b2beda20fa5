"""Which IP addresses are public: not this machine, not its network, not a special purpose (RFC 6890)."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")  # RFC 8215: translated by the operator's own network


def is_public(text: str) -> bool:
    """Return whether an address belongs to the public internet.

    Args:
        text: a numeric IPv4 or IPv6 address. An IPv6 address that carries an IPv4 address (mapped, 6to4, NAT64) is as
            public as the one that it carries.

    Raises:
        ValueError: if it is no address.
    """
    address = ip_address(text)
    carried = _carried(address) if isinstance(address, IPv6Address) else None
    if carried is not None:
        return _is_public(carried)
    return _is_public(address)


def _carried(address: IPv6Address) -> IPv4Address | None:
    if address in _NAT64:
        return IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address) and (address.is_site_local or address in _LOCAL_NAT64):
        return False
    special = (
        address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
    )
    return address.is_global and not special
