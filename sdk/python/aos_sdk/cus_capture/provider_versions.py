"""The releases of the provider packages that the SDK supports and is tested with."""

from collections.abc import Mapping
from importlib import metadata
from typing import Final

from aos_sdk.cus_providers.provider import CusSupportedRange
from aos_sdk.cus_providers.registry import PACKAGES

# The distribution's extras have the same ranges, and `make test-sdk-matrix` tests their ends.
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
