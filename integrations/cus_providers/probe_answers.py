"""Interpret a provider's answer, and make its message fit to be stored.

Providers echo keys in their messages, whole or half-masked. A stored message is masked (first the
credential's own strings, then everything that looks like a key) and cut.
"""

import base64
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from aos_sdk.cus_wire import mask_secrets
from integrations.cus_providers.safe_http import SafeResponse

_MASK = "[masked]"
_MAX_MESSAGE = 300
_MAX_CODE = 60
# So many characters of a secret in a row do not occur by chance.
_TELLING = 6
# A shorter value is not a secret, and would occur in any text.
_SHORTEST = 4
_CODE = re.compile(r"[\w.-]+")
# The body of a long list is cut, so a list is recognised by its beginning.
_LISTING_BEGINS = re.compile(rb'\s*(?:\[|\{[^\[]{0,500}"(?:data|models|modelSummaries)"\s*:\s*\[)')
_LISTS = ("data", "models", "modelSummaries")


class Verdict(StrEnum):
    """The result of one check."""

    OK = "ok"
    BAD_KEY = "bad_key"
    MISSING_PERMISSION = "missing_permission"
    RATE_LIMITED = "rate_limited"
    PROVIDER_DOWN = "provider_down"
    TIMEOUT = "timeout"
    UNEXPECTED = "unexpected"
    CONFIG_REFUSED = "config_refused"
    NOT_CHECKABLE = "not_checkable"
    CREDENTIAL_MISSING = "credential_missing"
    CREDENTIAL_UNREADABLE = "credential_unreadable"


_SAYS = {
    Verdict.BAD_KEY: "{label} does not accept this key. Enter a valid one.",
    Verdict.MISSING_PERMISSION: "{label} knows the caller but does not let it list models. "
    "Grant that permission, or allow this server's address.",
    Verdict.RATE_LIMITED: "{label} limits the rate of this account just now.",
    Verdict.PROVIDER_DOWN: "{label} has a failure of its own.",
    Verdict.CONFIG_REFUSED: "{label} does not know the configured address, version or account. "
    "Check base_url, api_version, organization and project.",
    Verdict.UNEXPECTED: "{label} gave an answer that is not its own.",
}


@dataclass(frozen=True)
class ProviderError:
    """The error that an answer's JSON describes. Any text in it may hold a secret."""

    code: str
    kind: str
    message: str

    def is_one_of(self, codes: Iterable[str]) -> bool:
        """Whether the error's code or type is one of `codes`."""
        return self.code in codes or self.kind in codes

    def says(self, *phrases: str) -> bool:
        """Whether the error's message contains one of `phrases`, which are in lower case."""
        message = self.message.lower()
        return any(phrase in message for phrase in phrases)


@dataclass(frozen=True)
class Finding:
    """The result of one check. `message` is for people; mask it before storing (`without`)."""

    verdict: Verdict
    message: str
    latency_ms: int | None = None

    @classmethod
    def of(
        cls, verdict: Verdict, label: str, answer: SafeResponse, error: ProviderError
    ) -> "Finding":
        """The finding for an error of the provider's; its message follows our text."""
        words = f" It says (HTTP {answer.status}): {error.message}" if error.message else ""
        return cls(verdict, _SAYS[verdict].format(label=label) + words, answer.latency_ms)

    @classmethod
    def unexpected(cls, label: str, answer: SafeResponse) -> "Finding":
        """The finding for an answer of another server, or to another question."""
        verdict = Verdict.PROVIDER_DOWN if answer.status >= 500 else Verdict.UNEXPECTED
        if answer.status == 429:
            verdict = Verdict.RATE_LIMITED
        hint = " It redirects, which is not followed." if 300 <= answer.status < 400 else ""
        message = f"{_SAYS[verdict].format(label=label)} (HTTP {answer.status}){hint}"
        return cls(verdict, message, answer.latency_ms)

    def without(self, secrets: Iterable[str]) -> "Finding":
        """The finding with a message fit to be stored: masked, without control characters, cut."""
        return replace(self, message=presentable(self.message, secrets))


def presentable(text: str, secrets: Iterable[str]) -> str:
    """A provider's message without the secrets, on one line, at most 300 characters."""
    clean = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    for secret in secrets:
        clean = _without(clean, secret)
    # Half-masked echoes (`abcd****wxyz`) reveal the beginning and the end of a secret.
    clean = re.sub(r"\S*\*{2,}\S*", _MASK, mask_secrets(clean))
    return clean if len(clean) <= _MAX_MESSAGE else clean[: _MAX_MESSAGE - 1] + "…"


def error_of(answer: SafeResponse) -> ProviderError | None:
    """The error in the answer's JSON; None if the answer is not an error in JSON."""
    data = _json(answer)
    if not isinstance(data, dict):
        return None
    inner = data.get("error")
    if isinstance(inner, dict):
        data = inner
    elif isinstance(inner, str):
        data = {"message": inner} | data
    elif not {"message", "Message", "detail", "__type"} & set(data):
        return None
    kind = answer.headers.get("x-amzn-errortype", "").partition(":")[0]
    kind = kind or _text(data.get("__type")).rpartition("#")[2]
    message = data.get("message") or data.get("Message") or data.get("detail")
    return ProviderError(
        code=kind or _code(data.get("code")), kind=_code(data.get("type")), message=_text(message)
    )


def is_listing(answer: SafeResponse) -> bool:
    """Whether the answer is a list of models."""
    if answer.cut:
        return bool(_LISTING_BEGINS.match(answer.body))
    data = _json(answer)
    if isinstance(data, dict):
        return any(isinstance(data.get(name), list) for name in _LISTS)
    return isinstance(data, list)


def _json(answer: SafeResponse) -> Any:
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        return None


def _text(value: Any) -> str:
    # JSON can hold half of a surrogate pair, which PostgreSQL refuses.
    return value.encode(errors="replace").decode() if isinstance(value, str) else ""


def _code(value: Any) -> str:
    text = _text(value)
    return text if len(text) <= _MAX_CODE and _CODE.fullmatch(text) else ""


def _without(text: str, secret: str) -> str:
    forms = {secret, quote(secret, safe=""), json.dumps(secret)[1:-1]}
    forms.add(base64.b64encode(secret.encode()).decode())
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, _MASK) if len(form) >= _SHORTEST else text
    if len(secret) < _TELLING:
        return text
    pieces = {secret[at : at + _TELLING] for at in range(len(secret) - _TELLING + 1)}
    words = (_MASK if any(piece in word for piece in pieces) else word for word in text.split(" "))
    return " ".join(words)
