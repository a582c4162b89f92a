"""The version of the SDK's distribution."""

__version__ = "0.1.0"
