"""The wire's constants, shared by SDK and server. Both import this file, so they agree."""

import hashlib
import re
import zlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

INTEGRATION_KEY_HEADER = "X-CUS-Integration-Key"
KEY_SECRET_PREFIX = "aosk_"  # noqa: S105 - a public prefix for secret scanners, not a secret

API_PREFIX = "/api/v1/cus"
LLM_USAGE_PATH = f"{API_PREFIX}/telemetry/llm-usage"
LLM_USAGE_BATCH_PATH = f"{API_PREFIX}/telemetry/llm-usage/batch"
TELEMETRY_GAPS_PATH = f"{API_PREFIX}/telemetry/gaps"
TELEMETRY_BYPASS_PATH = f"{API_PREFIX}/telemetry/bypass"
ENFORCEMENT_CHECK_PATH = f"{API_PREFIX}/enforcement/check"
ENFORCEMENT_BATCH_PATH = f"{API_PREFIX}/enforcement/batch"
ENFORCEMENT_LEASE_PATH = f"{API_PREFIX}/enforcement/lease"
ENFORCEMENT_CONFIG_PATH = f"{API_PREFIX}/enforcement/config"
ENFORCEMENT_STATUS_PATH = f"{API_PREFIX}/enforcement/status"
ENFORCEMENT_DECISIONS_PATH = f"{API_PREFIX}/enforcement/decisions"

MAX_BATCH_RECORDS = 1_000
MAX_BATCH_CHECKS = 100
# What a request for a lease may name: calls that run, leases with such calls, leases that are over.
MAX_RUNNING_CALLS = 1_000
MAX_KEPT_LEASES = 100
MAX_LEASE_RETURNS = 100
MAX_BATCH_BYTES = 4 * 1024 * 1024

# The most hosts in one bypass report; the SDK adds further hosts up under one name.
MAX_BYPASS_HOSTS = 50

MAX_CALL_ID_LENGTH = 100
MAX_HOLDER_ID_LENGTH = 100
MAX_SESSION_ID_LENGTH = 100
MAX_AGENT_ID_LENGTH = 100
MAX_PROVIDER_LENGTH = 50
MAX_MODEL_LENGTH = 100
MAX_ERROR_CODE_LENGTH = 50
MAX_ERROR_MESSAGE_LENGTH = 1_000
MAX_HOST_LENGTH = 255
MAX_REGION_LENGTH = 50
MAX_RESPONSE_ID_LENGTH = 200
MAX_KEY_HINT_LENGTH = 4
MAX_END_USER_LENGTH = 100
MAX_TURNS = 100
MAX_TAGS = 5
MAX_TAG_LENGTH = 64
MAX_METADATA_BYTES = 16 * 1024
MAX_METADATA_DEPTH = 8

INT32_MAX = 2**31 - 1

# The key in a record's metadata for how the SDK counted the tokens itself (rulings T2, T3).
TOKENS_COUNTED_BY = "tokens_counted_by"
COUNTED_BY_TOKENIZER = "tokenizer"
COUNTED_BY_APPROXIMATION = "approximation"

# The reasons why a process' sequence will never come: its record made room for newer records, its
# caller was interrupted before writing, or it was refused before a server had answered for it.
DROPPED_FULL = "full"
DROPPED_INTERRUPTED = "interrupted"
DROPPED_REFUSED = "refused"
DROP_REASONS = (DROPPED_FULL, DROPPED_INTERRUPTED, DROPPED_REFUSED)


class CusPolicyResult(StrEnum):
    """A usage record's policy result; a blocked call has no tokens and no cost (E6)."""

    ALLOWED = "allowed"
    WARNED = "warned"
    BLOCKED = "blocked"


class CusEnforcementResult(StrEnum):
    """The result of a check, from the mildest to the hardest (§15.2)."""

    ALLOWED = "allowed"
    WARNED = "warned"
    THROTTLED = "throttled"
    BLOCKED = "blocked"
    HARD_BLOCKED = "hard_blocked"


class CusReasonCode(StrEnum):
    """The reason of a check's result."""

    INTEGRATION_NOT_FOUND = "integration_not_found"
    INTEGRATION_NOT_ENABLED = "integration_not_enabled"
    INTEGRATION_DISABLED = "integration_disabled"
    INTEGRATION_ERROR = "integration_error"
    CREDENTIALS_INVALID = "credentials_invalid"
    STATE_UNKNOWN = "state_unknown"
    STOPPED = "stopped"
    BUDGET_EXCEEDED = "budget_exceeded"
    TOKEN_LIMIT_EXCEEDED = "token_limit_exceeded"  # noqa: S105 - a word, not a secret
    RATE_LIMIT_EXCEEDED = "rate_limit_exceeded"
    # Of limits at scopes, in any unit; the reason names the limit, its value and its window.
    AGENT_LIMIT_EXCEEDED = "agent_limit_exceeded"
    SESSION_LIMIT_EXCEEDED = "session_limit_exceeded"
    END_USER_LIMIT_EXCEEDED = "end_user_limit_exceeded"
    TAG_LIMIT_EXCEEDED = "tag_limit_exceeded"
    ESTIMATE_EXCEEDS_ROOM = "estimate_exceeds_room"
    MODEL_UNPRICED = "model_unpriced"
    CALL_RECORDED = "call_recorded"
    CONTENTION = "contention"
    BUDGET_WARNING = "budget_warning"
    TOKEN_WARNING = "token_warning"  # noqa: S105 - a word, not a secret
    EVIDENCE_UNAVAILABLE = "evidence_unavailable"
    ALL_CHECKS_PASSED = "all_checks_passed"


class CusOperation(StrEnum):
    """The kind of provider call of a record."""

    CHAT = "chat"
    RESPONSES = "responses"
    COMPLETION = "completion"
    EMBEDDING = "embedding"
    IMAGE = "image"
    AUDIO = "audio"
    OTHER = "other"


def answer_id(provider_id: str) -> str:
    """A provider's id of an answer, as records carry it: a longer one ends in its digest.

    Proxies make ids of hundreds of characters that differ at their ends alone.
    """
    if len(provider_id) <= MAX_RESPONSE_ID_LENGTH:
        return provider_id
    digest = hashlib.sha256(provider_id.encode("utf-8", "replace")).hexdigest()
    return provider_id[: MAX_RESPONSE_ID_LENGTH - len(digest)] + digest


def settlement_call_id(response_id: str) -> str:
    """The call id of a report that says what an answer used, where another process made the call.

    The same for every process that reads the answer, so that its usage counts once; the server
    recognises a settlement by it (ruling M5b).
    """
    return f"settles-{hashlib.sha256(answer_id(response_id).encode()).hexdigest()}"


class CusIngestStatus(StrEnum):
    """The outcome of one record: only `conflict` and `rejected` concern the sender (E2)."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    REJECTED = "rejected"


_BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHECK_DIGITS: Final = 6  # 62 ** 6 > 2 ** 32


def base62(number: int, width: int) -> str:
    """A number in base62, with `width` digits."""
    digits = ""
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits = _BASE62[digit] + digits
    return digits


def key_checksum(digits: str) -> str:
    """The CRC-32 of a key secret's random digits: tells a mistyped key from a revoked one."""
    return base62(zlib.crc32(digits.encode()), _CHECK_DIGITS)


def is_key_secret(secret: str) -> bool:
    """Whether a text is `aosk_`, digits, and their checksum."""
    digits = secret[len(KEY_SECRET_PREFIX) : -_CHECK_DIGITS]
    return secret.isascii() and secret == KEY_SECRET_PREFIX + digits + key_checksum(digits)


_MASK: Final = "[masked]"
# Patterns of keys, each with lower-case words that every match contains. Searching these words
# takes a hundredth of the time of matching, and most texts have none of them.
_LOOKS: Final = tuple(
    (hints, re.compile(pattern, re.IGNORECASE))
    for hints, pattern in (
        # Our key secrets, alone or at the end of a whole integration key.
        (("aosk_",), r"""(?:[^\s"':,]{1,64}:[^\s"':,]{1,64}:)?aosk_[\w*.-]+"""),
        (("bearer", "basic"), r"\b(?:bearer|basic)\s+[\w.~+/=*-]{4,}"),
        (("key",), r"""(?:api|access|secret)[_-]?key["']?\s*[:=]\s*["']?[^\s"',}]{4,}"""),
        # OpenAI, Anthropic; half-masked echoes too.
        (("sk-",), r"\bsk-[\w*.-]{4,}"),
        (("akia", "asia"), r"\b(?:AKIA|ASIA)[0-9A-Z]{12,}"),
        (("aiza",), r"\bAIza[\w-]{20,}"),
    )
)
_SUSPECT: Final = (*(hint.encode() for hints, _ in _LOOKS for hint in hints), b"\\")
# Names of object members that hold a key. `_LOOKS` has the same names, for texts.
_KEY_NAME: Final = re.compile(r"(?:api|access|secret)[_-]?key\Z", re.IGNORECASE)
_SHORTEST_NAMED: Final = 4
# Keys of AWS have so many characters, all other keys more.
_SHORTEST_KEY: Final = 20


def mask_secrets(text: str) -> str:
    """Mask everything that looks like a key or a token (ruling E9)."""
    lower = text.lower()
    for hints, look in _LOOKS:
        for hint in hints:
            if hint in lower:
                text = look.sub(_MASK, text)
                break
    return text


def mask_name(text: str) -> str:
    """Mask keys in the name of a session or an agent, but not short names.

    `sk-9876` and `sk-SK-bot` are names, and masking must not make two names the same.
    """
    return mask_secrets(text) if len(text) >= _SHORTEST_KEY else text


def json_may_hold_secret(document: bytes) -> bool:
    """Whether `mask_secrets` could find something in the texts of a JSON document.

    True is a guess, also where letters are escaped; False is certain.
    """
    # `map` over a method is the quickest loop, and this runs for each record.
    return any(map(document.lower().__contains__, _SUSPECT))


def mask_json(value: Any) -> Any:
    """A JSON value with secrets masked in its texts and its members' names.

    A text under the name of a key (`api_key`) is masked whole. Copies the parts that change, and
    keeps every member.
    """
    if isinstance(value, str):
        return mask_secrets(value)
    if isinstance(value, Mapping):
        return _masked_members(value)
    if isinstance(value, list | tuple):
        return [mask_json(item) for item in value]
    return value


def _masked_members(members: Mapping[Any, Any]) -> dict[Any, Any]:
    masked: dict[Any, Any] = {}
    for name, value in members.items():
        shown = mask_secrets(name) if isinstance(name, str) else name
        # Two masked names must not become the same.
        while shown in masked:
            shown = f"{shown} {len(masked) + 1}"
        masked[shown] = _MASK if _is_named_key(name, value) else mask_json(value)
    return masked


def _is_named_key(name: Any, value: Any) -> bool:
    return (
        isinstance(name, str)
        and isinstance(value, str)
        and len(value) >= _SHORTEST_NAMED
        and _KEY_NAME.search(name) is not None
    )
