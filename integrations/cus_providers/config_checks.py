"""Checks of the values of an integration's config (ruling C7).

Each check returns what is wrong with a value, or None. No check quotes the value, because a person
may have entered a secret in the wrong place.
"""

import re
from typing import Any

from django.conf import settings

from integrations.cus_providers.safe_addresses import UrlRefused, parse_target

_MAX_TEXT = 255
_MAX_URL = 2048
_MAX_SECONDS = 600
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")
_REGION = re.compile(r"[a-z]{2,}(?:-[a-z]+)+-\d{1,2}")
_PRINTABLE = re.compile(r"[!-~]+")
_PATH = re.compile(r"/(?!/)[^?#\\]*")


def word(value: Any) -> str | None:
    """A name or a version, at most 255 characters."""
    if isinstance(value, str) and len(value) <= _MAX_TEXT and _WORD.fullmatch(value):
        return None
    return "must be a text of letters, digits and . _ : -"


def region(value: Any) -> str | None:
    """A cloud's region."""
    if isinstance(value, str) and _REGION.fullmatch(value):
        return None
    return "must be a region such as us-east-1"


def seconds(value: Any) -> str | None:
    """A number of seconds, 1 to 600."""
    if type(value) is int and 1 <= value <= _MAX_SECONDS:
        return None
    return f"must be a whole number of seconds, 1 to {_MAX_SECONDS}"


def path(value: Any) -> str | None:
    """A path below the provider's address."""
    if (
        isinstance(value, str)
        and len(value) <= _MAX_TEXT
        and _PRINTABLE.fullmatch(value)
        and _PATH.fullmatch(value)
    ):
        return None
    return "must be a path that begins with one /, such as /v1/models"


def url(value: Any) -> str | None:
    """An address, by its form alone; each use checks where the address leads."""
    schemes = ("https", "http") if settings.CUS_ALLOW_HTTP_PROVIDERS else ("https",)
    rule = f"must be an {schemes[0]}:// address of a host, without user, query or fragment"
    if not isinstance(value, str) or len(value) > _MAX_URL or not _PRINTABLE.fullmatch(value):
        return rule
    if set("@\\?#") & set(value):
        return rule
    try:
        parse_target(value, plain_http=settings.CUS_ALLOW_HTTP_PROVIDERS)
    except UrlRefused as refusal:
        return f"{rule}: {refusal.detail.rstrip('.')}"
    return None
