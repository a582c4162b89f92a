"""Which releases of the provider packages the SDK is made and tested for."""

from collections.abc import Mapping
from importlib import metadata
from typing import Final, NamedTuple


class CusSupportedRange(NamedTuple):
    """From `oldest` on, below the major version `below`."""

    oldest: tuple[int, int]
    below: int

    def admits(self, version: str) -> bool:
        """Whether a release is within it."""
        return self.oldest <= _numbers(version) < (self.below, 0)

    def __str__(self) -> str:
        return f">={'.'.join(map(str, self.oldest))},<{self.below}"


# The extras of the distribution say the same, and `make test-sdk-matrix` tries their ends.
SUPPORTED: Final[Mapping[str, CusSupportedRange]] = {
    "openai": CusSupportedRange((1, 66), 4),
    "anthropic": CusSupportedRange((0, 45), 3),
}


def installed_version(package: str) -> str | None:
    """The version of an installed provider package, without importing it."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def is_supported(package: str, version: str) -> bool:
    """Whether the SDK knows this release of a provider package."""
    return SUPPORTED[package].admits(version)


def _numbers(version: str) -> tuple[int, int]:
    major, minor = [*version.split("."), "0"][:2]
    try:
        return int(major), int(minor)
    except ValueError:
        return (0, 0)
