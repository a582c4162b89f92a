"""The words that SDK and server share on the wire. Both import this file, so they cannot drift."""

import re
import zlib
from enum import StrEnum
from typing import Final

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
MAX_BATCH_BYTES = 4 * 1024 * 1024

# Hosts that one bypass report names; the SDK adds the others up as one.
MAX_BYPASS_HOSTS = 50

MAX_CALL_ID_LENGTH = 100
MAX_SESSION_ID_LENGTH = 100
MAX_AGENT_ID_LENGTH = 100
MAX_PROVIDER_LENGTH = 50
MAX_MODEL_LENGTH = 100
MAX_ERROR_CODE_LENGTH = 50
MAX_ERROR_MESSAGE_LENGTH = 1_000
MAX_METADATA_BYTES = 16 * 1024
MAX_METADATA_DEPTH = 8

INT32_MAX = 2**31 - 1

# Why a sequence of a process will never come: it made room for newer records, its caller was
# interrupted before it was written, or it was refused before any server had answered for it.
DROPPED_FULL = "full"
DROPPED_INTERRUPTED = "interrupted"
DROPPED_REFUSED = "refused"
DROP_REASONS = (DROPPED_FULL, DROPPED_INTERRUPTED, DROPPED_REFUSED)


class CusPolicyResult(StrEnum):
    """What a usage record says about policy; a blocked call has no tokens and no cost (E6)."""

    ALLOWED = "allowed"
    WARNED = "warned"
    BLOCKED = "blocked"


class CusEnforcementResult(StrEnum):
    """What a check says, from the mildest to the hardest (§15.2)."""

    ALLOWED = "allowed"
    WARNED = "warned"
    THROTTLED = "throttled"
    BLOCKED = "blocked"
    HARD_BLOCKED = "hard_blocked"


class CusReasonCode(StrEnum):
    """Why a check says what it says."""

    INTEGRATION_NOT_FOUND = "integration_not_found"
    INTEGRATION_NOT_ENABLED = "integration_not_enabled"
    INTEGRATION_DISABLED = "integration_disabled"
    INTEGRATION_ERROR = "integration_error"
    CREDENTIALS_INVALID = "credentials_invalid"
    STATE_UNKNOWN = "state_unknown"
    BUDGET_EXCEEDED = "budget_exceeded"
    TOKEN_LIMIT_EXCEEDED = "token_limit_exceeded"  # noqa: S105 - a word, not a secret
    RATE_LIMIT_EXCEEDED = "rate_limit_exceeded"
    MODEL_UNPRICED = "model_unpriced"
    CALL_RECORDED = "call_recorded"
    CONTENTION = "contention"
    BUDGET_WARNING = "budget_warning"
    TOKEN_WARNING = "token_warning"  # noqa: S105 - a word, not a secret
    EVIDENCE_UNAVAILABLE = "evidence_unavailable"
    ALL_CHECKS_PASSED = "all_checks_passed"


class CusOperation(StrEnum):
    """Which kind of provider call a record is about."""

    CHAT = "chat"
    RESPONSES = "responses"
    COMPLETION = "completion"
    EMBEDDING = "embedding"
    IMAGE = "image"
    AUDIO = "audio"
    OTHER = "other"


class CusIngestStatus(StrEnum):
    """What became of one record: only `conflict` and `rejected` are the sender's trouble (E2)."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    REJECTED = "rejected"


_BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHECK_DIGITS: Final = 6  # 62 ** 6 > 2 ** 32


def base62(number: int, width: int) -> str:
    """A number in so many base62 digits."""
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
_SECRETS: Final = re.compile(
    r"""
      [^\s"':,]{1,64}:[^\s"':,]{1,64}:aosk_[\w*.-]+        # a whole integration key
    | aosk_[\w*.-]+
    | \bsk-[\w*.-]{4,}                           # OpenAI, Anthropic; half-masked echoes too
    | \b(?:bearer|basic)\s+[\w.~+/=*-]{4,}
    | \b(?:AKIA|ASIA)[0-9A-Z]{12,}
    | \bAIza[\w-]{20,}
    | (?:api|access|secret)[_-]?key["']?\s*[:=]\s*["']?[^\s"',}]{4,}
    """,
    re.IGNORECASE | re.VERBOSE,
)


def mask_secrets(text: str) -> str:
    """Blank out whatever looks like a key or a token (ruling E9)."""
    return _SECRETS.sub(_MASK, text)
