"""Which releases of the provider packages the SDK is made and tested for."""

from collections.abc import Mapping
from importlib import metadata
from typing import Final

from aos_sdk.cus_providers.provider import CusSupportedRange
from aos_sdk.cus_providers.registry import PACKAGES

# The extras of the distribution say the same, and `make test-sdk-matrix` tries their ends.
SUPPORTED: Final[Mapping[str, CusSupportedRange]] = {
    name: package.supported for name, package in PACKAGES.items()
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
