"""The addresses that this server may call when a customer names them (ruling C6).

An address has a single accepted spelling. A spelling that another program could read as a different
address (an IPv4 address in octal or inside an IPv6 address, a user before an `@`, digits that are
disguised as a name) is refused, not interpreted: when the address is saved, and at each call.
"""

import re
import unicodedata
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import idna

from integrations.cus_web.errors import CusError

Address = IPv4Address | IPv6Address
_MAX_URL = 2_048
_LARGEST_PORT = 65_535
_DEFAULT_PORTS = {"http": 80, "https": 443}
_URL = re.compile(r"(https?)://([^/?#]+)(/[^?#]*)?(\?[^#]*)?", re.IGNORECASE)
_PLACE = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^:\[\]@%]+))(?::([0-9]{1,5}))?", re.IGNORECASE)
_NAME = re.compile(
    r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PLAIN_IPV4 = "Write an IPv4 address as four plain decimal numbers."

# IANA's special-purpose registry and multicast, and the address by which Azure's host answers.
# Written out, because Python's `is_global` for these has changed within the 3.11 releases.
_IPV4_NOT_PUBLIC = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32",
            "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
            "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16",
            "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
            "224.0.0.0/4", "240.0.0.0/4",
        ),
    )
)  # fmt: skip
# Public IPv6 is one block, without the ranges that carry an IPv4 address (Teredo, 6to4) or belong
# to no host.
_IPV6_PUBLIC = ip_network("2000::/3")
_IPV6_NOT_PUBLIC = tuple(
    map(ip_network, ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"))
)
# The prefix by which a network without IPv4 writes IPv4 addresses.
_NAT64 = ip_network("64:ff9b::/96")
# The ranges that an operator can open by naming a host; the clouds' metadata addresses stay closed.
_NAMEABLE = tuple(
    map(
        ip_network,
        ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",
         "::1/128", "fc00::/7"),
    )
)  # fmt: skip
_METADATA = frozenset(map(ip_address, ("100.100.100.200", "fd00:ec2::254", "fd20:ce::254")))


class UrlRefused(CusError):
    """The server may not call this address. Write it as https://host/path."""

    code = "url_refused"


class AddressRefused(CusError):
    """This host is not on the public internet, so it is not called. An operator can allow it
    by name in CUS_ALLOWED_PRIVATE_HOSTS.
    """

    code = "address_refused"


@dataclass(frozen=True)
class Target:
    """A URL taken apart. `host` is lower-case ASCII without brackets or a last dot."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def url(self) -> str:
        """The URL, composed from its parts."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path}"

    @property
    def origin(self) -> str:
        """Scheme, host and port, the port always written: `https://api.openai.com:443` (C4a)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def literal(self) -> Address | None:
        """The host as an IP address; None if the host is a name."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None

    def named_in(self, hosts: frozenset[str]) -> bool:
        """Whether an operator's list contains this host, alone or with this port."""
        bracketed = f"[{self.host}]" if ":" in self.host else self.host
        return bool({self.host, bracketed, f"{bracketed}:{self.port}"} & hosts)


def parse_target(url: str, *, plain_http: bool = False) -> Target:
    """Take a URL apart. Raises UrlRefused, which never quotes the URL: it may hold a password."""
    if len(url) > _MAX_URL or "\\" in url or any(map(_is_blank_or_control, url)):
        raise UrlRefused(
            "The address has a blank, a backslash or a control character, or is too long."
        )
    match = _URL.fullmatch(url)
    if not match:
        raise UrlRefused
    scheme, place, path, query = match.groups(default="")
    scheme = scheme.lower()
    if scheme == "http" and not plain_http:
        raise UrlRefused("The address must begin with https://. An operator can allow http.")
    if not (path + query).isascii():
        raise UrlRefused("The path has letters that must be written as %XX.")
    host, port = _place(place)
    return Target(scheme, host, port or _DEFAULT_PORTS[scheme], (path or "/") + query)


def origin_of(url: str) -> str:
    """The origin of a URL, http or https, as `Target.origin` writes it. Raises UrlRefused."""
    return parse_target(url, plain_http=True).origin


def check_address(address: Address, *, named: bool = False) -> None:
    """Raise AddressRefused unless the address is public, or private and `named` by an operator."""
    if named and address not in _METADATA and any(address in network for network in _NAMEABLE):
        return
    if not _is_public(address):
        raise AddressRefused


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _IPV4_NOT_PUBLIC)
    if address in _NAT64:
        return _is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
    return address in _IPV6_PUBLIC and not any(address in network for network in _IPV6_NOT_PUBLIC)


def _is_blank_or_control(character: str) -> bool:
    return unicodedata.category(character)[0] in "CZ"


def _place(text: str) -> tuple[str, int]:
    """Host and port; 0 for the scheme's own port."""
    match = _PLACE.fullmatch(text)
    if not match:
        raise UrlRefused("The address must name a host, without a user, a password or a zone.")
    literal, name, port = match.groups()
    if port and not 1 <= int(port) <= _LARGEST_PORT:
        raise UrlRefused("The address has a port that does not exist.")
    return _ipv6(literal) if literal else _host(name), int(port or 0)


def _ipv6(text: str) -> str:
    try:
        address = IPv6Address(text)
    except ValueError:
        raise UrlRefused("The text between the brackets is not an IPv6 address.") from None
    # ::ffff:127.0.0.1 and ::127.0.0.1; but :: and ::1 are addresses of IPv6 itself.
    if int(address) >> 32 in (0, 0xFFFF) and int(address) > 1:
        raise UrlRefused(_PLAIN_IPV4)
    return str(address)


def _host(text: str) -> str:
    # Normalise before all rules: full-width digits, dots of other scripts, capital letters.
    name = unicodedata.normalize("NFKC", text).replace("。", ".").lower().removesuffix(".")
    try:
        host = name if name.isascii() else idna.encode(name, uts46=True).decode()
    except (idna.IDNAError, UnicodeError):
        raise UrlRefused("The address names a host that cannot exist.") from None
    if len(host) > 253 or not _NAME.fullmatch(host):
        raise UrlRefused("The address names a host that cannot exist.")
    if _NUMBER.fullmatch(host.rpartition(".")[2]):
        return _ipv4(host)
    shown = ".".join(map(_shown_label, host.split(".")))
    if shown != host and _NUMBER.fullmatch(shown.rpartition(".")[2]):
        raise UrlRefused(_PLAIN_IPV4)
    return host


def _shown_label(label: str) -> str:
    """Decode an `xn--` label, and normalise it as programs do: it may become digits and dots.

    Registrars sell no such name, but a program that decodes and normalises would call an address.
    """
    if not label.startswith("xn--"):
        return label
    try:
        decoded = label.removeprefix("xn--").encode().decode("punycode")
    except UnicodeError:
        raise UrlRefused("The address names a host that cannot exist.") from None
    return unicodedata.normalize("NFKC", decoded).replace("。", ".").lower()


def _ipv4(text: str) -> str:
    # Programs read 0177.1 or 2130706433 differently, so only four plain decimals are accepted.
    try:
        return str(IPv4Address(text))
    except ValueError:
        raise UrlRefused(_PLAIN_IPV4) from None
