"""URLs by which a customer could try to make the server call what it must not (ruling C6)."""

from ipaddress import IPv4Address, IPv6Address

# Loopback, private, link-local, metadata, shared, reserved and multicast addresses.
IPV4 = (
    "127.0.0.1", "127.1.2.3", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254",
    "168.63.129.16", "100.64.0.1", "100.100.100.200", "192.0.0.192", "198.18.0.1", "0.0.0.0",
    "224.0.0.1", "255.255.255.255",
)  # fmt: skip
IPV6 = (
    "::", "::1", "fe80::1", "fec0::1", "fc00::1", "fd00:ec2::254", "fd20:ce::254", "ff02::1",
    "100::1", "2001:db8::1", "3fff::1", "5f00::1", "2001:10::1",
)  # fmt: skip
_WIDE = str.maketrans("0123456789.", "０１２３４５６７８９．")
_CIRCLED = str.maketrans("123456789", "①②③④⑤⑥⑦⑧⑨")


def hostile_places(port: int) -> list[str]:
    """What stands between `https://` and the path: every address in every way of writing it."""
    places = [place for text in IPV4 for place in _ways(IPv4Address(text), port)]
    for text in IPV6:
        places += [f"[{text}]:{port}", f"[{IPv6Address(text).exploded}]:{port}"]
    places += [f"[fe80::1%25lo]:{port}", f"[fe80::1%lo]:{port}", f"[::1%1]:{port}"]
    names = ("localhost", "LOCALHOST", "localhost.", "ｌｏｃａｌｈｏｓｔ", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ")
    return places + [f"{name}:{port}" for name in names]


def addresses_inside() -> list[str]:
    """What a resolver could answer: IPv4, and IPv6 that means one."""
    carried = [way for text in IPV4 for way in _carried(IPv4Address(text))]
    return [*IPV4, *IPV6, *carried]


def _ways(address: IPv4Address, port: int) -> list[str]:
    number = int(address)
    a, b, c, d = address.packed
    plain = str(address)
    hosts = [
        plain,
        f"{plain}.",
        str(number),
        hex(number),
        f"0{number:o}",
        f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        f"{a:#x}.{b:#x}.{c:#x}.{d:#x}",
        f"00{a}.{b}.{c}.{d}",
        f"{a}.{number & 0xFFFFFF}",
        f"{a}.{b}.{number & 0xFFFF}",
        f"{a:#x}.{b}.0{c:o}.{d}",
        plain.translate(_WIDE),
        plain.translate(_CIRCLED),
        plain.replace(".", "。"),
        plain.replace(".", "｡"),
        plain.replace(".", "%2e"),
        f"{plain}%00",
        f"\u200b{plain}",
        f"{plain}\t",
        *(f"[{carried}]" for carried in _carried(address)),
        f"example.com@{plain}",
        f"user:password@{plain}",
        f"example.com\\@{plain}",
        f"{plain}\\.example.com",
        f"example.com\uff20{plain}",
    ]
    return [f"{host}:{port}" for host in hosts]


def _carried(address: IPv4Address) -> list[str]:
    """IPv6 addresses that carry an IPv4 one: mapped, compatible, 6to4, Teredo, NAT64."""
    number = int(address)
    high, low = number >> 16, number & 0xFFFF
    return [
        f"::ffff:{address}",
        f"::{address}",
        f"::ffff:0:{address}",
        f"2002:{high:x}:{low:x}::1",
        f"2001:0:{high:x}:{low:x}::{high ^ 0xFFFF:x}:{low ^ 0xFFFF:x}",
        f"64:ff9b::{address}",
        f"64:ff9b:1::{address}",
    ]
