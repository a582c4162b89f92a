"""The hosts whose requests are recorded: those of all known providers, and those that the program
names.
"""

import os
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from aos_sdk.cus_providers.registry import PROVIDERS, provider_of_host

# The variables in which the provider packages look for an address that the program does not give.
_BASE_URLS: Final = ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "AZURE_OPENAI_ENDPOINT")


def configured_hosts() -> set[str]:
    """The hosts of the addresses in the environment."""
    found = (urlsplit(os.environ.get(name, "")).hostname for name in _BASE_URLS)
    return {host.lower() for host in found if host}


class CusRecordedHosts:
    """Whether requests to a host are recorded."""

    def __init__(self) -> None:
        self._named: frozenset[str] = frozenset()

    def name(self, hosts: Iterable[str]) -> None:
        """Record requests to these hosts, too, and to those of the environment's addresses."""
        plain = ((urlsplit(host).hostname if "//" in host else host) for host in hosts)
        named = {host.lower().partition(":")[0] for host in plain if host}
        self._named = frozenset(named | configured_hosts())

    def includes(self, host: str) -> bool:
        """Whether this host, in lower case, is a provider's or named by the program."""
        return host in self._named or provider_of_host(host) is not None

    def __str__(self) -> str:
        found = set(self._named)
        for provider in PROVIDERS:
            found.update(provider.hosts)
            found.update(f"*{end}" for end in provider.host_ends)
            found.update(f"{start}*" for start in provider.host_starts)
        return ", ".join(sorted(found))


recorded: Final = CusRecordedHosts()
