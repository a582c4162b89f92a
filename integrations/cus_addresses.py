"""Where a request comes from."""

from ipaddress import ip_address, ip_network

from django.conf import settings

# A home or a server has a /64 to pick addresses from.
_IPV6_PREFIX = 64


def address_of(peer: str, forwarded: str | None) -> str | None:
    """The address that a request comes from; of IPv6, its network. None if it can't be told.

    `peer` is the other end of the connection, `forwarded` the X-Forwarded-For header. Behind a
    proxy the address is what that proxy appended to the header: everything further left is the
    client's own claim.
    """
    if settings.CUS_BEHIND_PROXY and forwarded is not None:
        peer = forwarded.rpartition(",")[2].strip()
    try:
        address = ip_address(peer)
    except ValueError:
        return None
    if address.version == 4:
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ip_network((address, _IPV6_PREFIX), strict=False).network_address)
