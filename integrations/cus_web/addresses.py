"""The address that a request comes from, and ranges of addresses."""

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

# A home or a server owns a /64, so one client has all addresses of that network.
_IPV6_PREFIX = 64
# The prefix under which IPv6 writes IPv4 addresses: ::ffff:192.0.2.1.
_MAPPED_PREFIX = 96


def exact_address_of(peer: str, forwarded: str | None) -> Address | None:
    """The address that a request comes from. None if unknown.

    `peer` is the other end of the connection, `forwarded` the X-Forwarded-For header. Behind a
    proxy the address is the part that the proxy appended to the header; everything further left is
    the client's own claim. If the header is missing there, the web server dropped it as unreadable.
    The address is then unknown: the proxy's address would stand for all senders of such headers.
    """
    if settings.CUS_BEHIND_PROXY:
        peer = (forwarded or "").rpartition(",")[2].strip()
    try:
        # Drop the zone, as in fe80::1%eth0: the name of this machine's network interface.
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def address_of(peer: str, forwarded: str | None) -> str | None:
    """The request's address as text; for IPv6 its network, in which a client has many addresses."""
    address = exact_address_of(peer, forwarded)
    if isinstance(address, IPv6Address):
        return str(ip_network((address, _IPV6_PREFIX), strict=False).network_address)
    return str(address) if address else None


def network_of(text: str) -> Network:
    """The range of a text such as 192.0.2.0/24 or 2001:db8::/48; also of a single address.

    Raises ValueError with the mistake and the right spelling.
    """
    network = _network(text, strict=False)
    if network is None or "%" in text:
        hint = "write 192.0.2.7, 192.0.2.0/24 or 2001:db8::/48"
        raise ValueError(f"{text[:50]!r} is neither an address nor a range: {hint}.")
    if _network(text, strict=True) is None:
        raise ValueError(f"{text!r} names an address within a range: write {network}.")
    if isinstance(network, IPv6Network) and network.prefixlen >= _MAPPED_PREFIX:
        mapped = network.network_address.ipv4_mapped
        if mapped:
            return IPv4Network((mapped, network.prefixlen - _MAPPED_PREFIX))
    return network


def is_within(address: Address | None, ranges: Iterable[str]) -> bool:
    """Whether the address lies in one of the ranges; an unknown address (None) lies in none."""
    return address is not None and any(address in ip_network(text) for text in ranges)


def are_within(inner: Iterable[str], outer: Iterable[str]) -> bool:
    """Whether each inner range lies in one of the outer ranges."""
    around = [ip_network(text) for text in outer]
    return all(any(_holds(network, ip_network(text)) for network in around) for text in inner)


def _holds(outer: Network, inner: Network) -> bool:
    if isinstance(outer, IPv4Network):
        return isinstance(inner, IPv4Network) and inner.subnet_of(outer)
    return isinstance(inner, IPv6Network) and inner.subnet_of(outer)


def _network(text: str, *, strict: bool) -> Network | None:
    try:
        return ip_network(text, strict=strict)
    except ValueError:
        return None
