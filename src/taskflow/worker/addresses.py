"""Which network addresses a worker may send requests to: those of the public internet, unless told otherwise. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_NAT64 = IPv6Network("64:ff9b::/96")
"""Addresses that stand for an IPv4 address in their last 32 bits (RFC 6052)."""
_TUNNELS = (IPv6Network("2002::/16"), IPv6Network("2001::/32"))
"""6to4 and Teredo: they carry an IPv4 address too, and nobody serves anything there any more."""
_SPECIAL = (IPv4Network("192.0.0.0/24"), IPv4Network("168.63.129.16/32"))
"""Protocols' own addresses, which Python 3.11 takes for public ones, and a cloud's metadata service in a public range."""


def is_public(address: str) -> bool:
    """Whether an address is one of the public internet.

    No loopback, private, link-local, shared, multicast or reserved one, no cloud's metadata service, and no IPv6 form of
    such an IPv4 address. What is no address counts as none.
    """
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, IPv6Address):
        embedded = _embedded(found)
        if embedded is None:
            return _is_global(found) and not found.is_site_local and not any(found in net for net in _TUNNELS)
        found = embedded
    return _is_global(found) and not any(found in network for network in _SPECIAL)


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that packets to an IPv6 address reach in the end, None if they reach the address itself."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None


def _is_global(address: IPv4Address | IPv6Address) -> bool:
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)
