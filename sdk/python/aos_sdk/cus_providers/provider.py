"""What the SDK knows about a provider: one `CusProviderInfo` in a file of its own.

Nothing here or in those files imports a provider's package.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from aos_sdk.cus_providers.requests import CusRequests
from aos_sdk.cus_reported_usage import CusReportedUsage
from aos_sdk.cus_wire import CusOperation


class CusRole(Enum):
    """What the SDK learns from a method of a provider's package."""

    CALL = "a call and its usage"
    RESPONSE = "a response or an assistant's run, which may run on in the background"
    LATE_ANSWER = "what a background response or a run used; the request itself is no call"
    SESSION = "a session that tells at its end what it used"
    BATCH_RESULTS = "the results of a message batch, each a call"
    FILE = "a file, which may hold the results of a batch, each a call"
    EVENTS = "an event of a WebSocket; the end of a response is a call"


class CusSurface(NamedTuple):
    """A kind of provider call. With `can_inject`, its streams report usage only if asked to."""

    provider: str
    operation: CusOperation
    can_inject: bool = False
    role: CusRole = CusRole.CALL


class CusTarget(NamedTuple):
    """Methods of a class and its asynchronous counterpart, in a module of a provider's package."""

    module: str
    class_name: str
    methods: tuple[str, ...]
    surface: CusSurface


class CusSupportedRange(NamedTuple):
    """The releases from `oldest` on, below the major version `below`."""

    oldest: tuple[int, int]
    below: int

    def admits(self, version: str) -> bool:
        """Whether a release is within the range."""
        return self.oldest <= _numbers(version) < (self.below, 0)

    def __str__(self) -> str:
        return f">={'.'.join(map(str, self.oldest))},<{self.below}"


def _numbers(version: str) -> tuple[int, int]:
    major, minor = [*version.split("."), "0"][:2]
    try:
        return int(major), int(minor)
    except ValueError:
        return (0, 0)


class CusPackage(NamedTuple):
    """A provider's Python package: its releases that the SDK governs, and its methods that call.

    `agent` is in the User-Agent of the package's clients, whatever server they call.
    """

    name: str
    supported: CusSupportedRange
    targets: tuple[CusTarget, ...]
    agent: str


class CusUsageShape(NamedTuple):
    """The form of usage in answers; several providers may share a shape.

    `read` takes the object that has the usage (None for a stream's sum), and the usage. `told` is
    for streams whose events report usage in parts: it returns the fields that one event sets.
    `quick` reads a whole answer of the most frequent kind, and returns None for any other.
    """

    read: Callable[[Any, Any], CusReportedUsage]
    told: Callable[[Any], dict[str, Any]] | None = None
    quick: Callable[[Any], CusReportedUsage | None] | None = None


def subdomain_of(domain: str) -> Callable[[str], str | None]:
    """A `region_of_host` for hosts `<region>.<domain>`."""

    def region(host: str) -> str | None:
        return host.removesuffix(f".{domain}") if host.endswith(f".{domain}") else None

    return region


@dataclass(frozen=True, kw_only=True, slots=True)
class CusProviderInfo:
    """A provider. `key` is its name in records: its name in genai-prices, except if the server has
    an integration type of another name.

    Calls go to `hosts`, or to hosts with one of these ends or beginnings; `paths` are the ends of
    the paths whose calls are captured. `requests` are further requests, captured, counted or free.
    """

    key: str
    other_names: tuple[str, ...] = ()
    package: CusPackage | None = None
    # Classes of other providers' packages, or bases of them, whose clients call this provider.
    client_classes: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    host_ends: tuple[str, ...] = ()
    host_starts: tuple[str, ...] = ()
    paths: tuple[bytes, ...] = ()
    requests: tuple[CusRequests, ...] = ()
    # None: the provider serves models of other providers, and each answer's form tells which.
    usage: CusUsageShape | None = None
    # Whether the server behind a client takes `stream_options`; None: never ask.
    takes_stream_options: Callable[[Any], bool] | None = None
    # The region by which the provider bills (ruling M5a): in a host's name, in a model's name
    # (which overrides the host's, as for the price), or else in the client's attribute of this
    # name.
    region_of_host: Callable[[str], str | None] | None = None
    region_of_model: Callable[[str], str | None] | None = None
    region_attribute: str | None = None

    def serves(self, host: str) -> bool:
        """Whether calls to this host are calls of this provider."""
        return (
            host in self.hosts or host.endswith(self.host_ends) or host.startswith(self.host_starts)
        )
