"""The server's address and the integration key, from arguments and the environment."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from aos_sdk.cus_errors import CusConfigurationError

DEFAULT_BASE_URL: Final = "http://127.0.0.1:8000"


@dataclass(frozen=True, slots=True, repr=False)
class CusIntegrationKey:
    """An integration key, `tenant_id:integration_id:secret`; its text never shows the secret."""

    tenant_id: str
    integration_id: str
    secret: str

    @classmethod
    def parse(cls, text: str) -> "CusIntegrationKey":
        """Raises CusConfigurationError if the key is malformed; the message never has the key."""
        parts = text.strip().split(":")
        # The key is sent in a header, so it may have printable ASCII characters alone.
        sound = text.isascii() and all(part.isprintable() and " " not in part for part in parts)
        if len(parts) != 3 or not all(parts) or not sound:
            message = "the integration key is malformed; copy it whole: tenant:integration:secret"
            raise CusConfigurationError(message)
        return cls(*parts)

    @property
    def header_value(self) -> str:
        """The whole key, for the request header alone."""
        return f"{self.tenant_id}:{self.integration_id}:{self.secret}"

    def __repr__(self) -> str:
        return f"CusIntegrationKey({self.tenant_id}:{self.integration_id}:[secret])"


class CusPresence:
    """When the server last answered a request of this process, whatever the request was."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """No request of this process has been answered yet."""
        self._answered_at = float("-inf")

    def note(self) -> None:
        """The server has answered."""
        self._answered_at = time.monotonic()

    def is_within(self, seconds: float) -> bool:
        """Whether the server has answered within the last `seconds`."""
        return time.monotonic() - self._answered_at < seconds


@dataclass(frozen=True, slots=True)
class CusConnection:
    """A usable key and the address of the server it belongs to; and when the server answered."""

    key: CusIntegrationKey
    base_url: str
    presence: CusPresence = field(default_factory=CusPresence, compare=False)

    @classmethod
    def resolve(
        cls,
        integration_key: str | None,
        base_url: str | None,
        environ: Mapping[str, str] = os.environ,
    ) -> "CusConnection":
        """Take missing arguments from the environment.

        Raises CusConfigurationError if there is no key, or if key or address can't be used.
        """
        key = integration_key or environ.get("CUS_INTEGRATION_KEY")
        if not key:
            message = "no integration key is set (CUS_INTEGRATION_KEY); nothing is reported"
            raise CusConfigurationError(message)
        url = base_url or environ.get("AOS_BASE_URL") or DEFAULT_BASE_URL
        _check_url(url, allow_http=environ.get("AOS_ALLOW_HTTP") == "1")
        return cls(CusIntegrationKey.parse(key), url.rstrip("/"))


def _check_url(url: str, *, allow_http: bool) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        message = "AOS_BASE_URL must be an https:// address"
        raise CusConfigurationError(message)
    if "@" in parts.netloc:
        message = "AOS_BASE_URL must not hold a user name or a password"
        raise CusConfigurationError(message)
    if parts.scheme == "http" and not allow_http and not _is_loopback(parts.hostname):
        message = (
            f"plain http would show the integration key to everyone on the way to "
            f"{parts.hostname}; use https, or set AOS_ALLOW_HTTP=1"
        )
        raise CusConfigurationError(message)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    from ipaddress import ip_address  # here, because few need it and it is slow to import

    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
