"""The version of the SDK, as the distribution has it."""

__version__ = "0.1.0"
