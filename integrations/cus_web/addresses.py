"""Where a request comes from, and whether that lies within some ranges."""

from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from django.conf import settings

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# A home or a server has a /64 to pick addresses from.
_IPV6_PREFIX = 64
# Below it IPv6 writes IPv4: ::ffff:192.0.2.1.
_MAPPED_PREFIX = 96


def exact_address_of(peer: str, forwarded: str | None) -> Address | None:
    """The address that a request comes from. None if it can't be told.

    `peer` is the other end of the connection, `forwarded` the X-Forwarded-For header. Behind a
    proxy the address is what that proxy appended to the header: everything further left is the
    client's own claim. A header that is missing there was unreadable, and the web server dropped
    it: the proxy's own address would stand for whoever sends such a header.
    """
    if settings.CUS_BEHIND_PROXY:
        peer = (forwarded or "").rpartition(",")[2].strip()
    try:
        # A zone, as in fe80::1%eth0, is only this machine's name for a cable.
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def address_of(peer: str, forwarded: str | None) -> str | None:
    """The same as text, and of IPv6 the network: one client has many addresses in that."""
    address = exact_address_of(peer, forwarded)
    if isinstance(address, IPv6Address):
        return str(ip_network((address, _IPV6_PREFIX), strict=False).network_address)
    return str(address) if address else None


def network_of(text: str) -> Network:
    """The range that a text such as 192.0.2.0/24 or 2001:db8::/48 names; an address is one alone.

    Raises ValueError with what is wrong and how to write it instead.
    """
    network = _network(text, strict=False)
    if network is None or "%" in text:
        hint = "write 192.0.2.7, 192.0.2.0/24 or 2001:db8::/48"
        raise ValueError(f"{text[:50]!r} is no address and no range: {hint}.")
    if _network(text, strict=True) is None:
        raise ValueError(f"{text!r} names an address within a range: write {network}.")
    if isinstance(network, IPv6Network) and network.prefixlen >= _MAPPED_PREFIX:
        mapped = network.network_address.ipv4_mapped
        if mapped:
            return IPv4Network((mapped, network.prefixlen - _MAPPED_PREFIX))
    return network


def is_within(address: Address | None, ranges: Iterable[str]) -> bool:
    """Whether the address lies in one of the ranges; one that can't be told lies in none."""
    return address is not None and any(address in ip_network(text) for text in ranges)


def are_within(inner: Iterable[str], outer: Iterable[str]) -> bool:
    """Whether each inner range lies in one of the outer ranges."""
    around = [ip_network(text) for text in outer]
    return all(any(_holds(one, ip_network(text)) for one in around) for text in inner)


def _holds(outer: Network, inner: Network) -> bool:
    if isinstance(outer, IPv4Network):
        return isinstance(inner, IPv4Network) and inner.subnet_of(outer)
    return isinstance(inner, IPv6Network) and inner.subnet_of(outer)


def _network(text: str, *, strict: bool) -> Network | None:
    try:
        return ip_network(text, strict=strict)
    except ValueError:
        return None
