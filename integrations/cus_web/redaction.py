"""Mask secrets in logs, errors and jobs: known secrets by value, others by their look.

By value: this module remembers every credential that the process opens and every secret of its
settings, and masks them in every text. By look: it masks texts that resemble a key, a token or a
password in an address. `install` masks everything that the process writes.
"""

import html
import json
import logging
import re
import sys
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from structlog.processors import format_exc_info

from aos_sdk.cus_wire import mask_secrets

MASK: Final = "[masked]"
# A shorter value occurs in texts by chance, and masking those places would reveal the value.
_MIN_LENGTH = 8
# Probes and requests have ended long before. Remembering secrets reveals nothing (this process'
# memory also holds the key ring), but the memory must not grow for ever.
_REMEMBERED_SECONDS = 900.0
_MAX_REMEMBERED = 2_000

# In addition to the SDK's patterns: credentials of clouds, vaults and addresses, and our tokens.
_LOOKS: Final = re.compile(
    r"""
      (?<=://)[^\s/:@"'<>]{0,128}:[^\s/@"'<>]{1,256}(?=@)             # user:password in an address
    | \beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?                          # JSON web tokens (Entra ID)
    | \b(?:hv[sbr]\.[\w-]{20,}|s\.[A-Za-z0-9]{24}\b)                  # HashiCorp Vault
    | \b[A-Za-z0-9]{52}JQQJ99[A-Za-z0-9]{10,}                         # Azure's API keys
    | \bABSK[A-Za-z0-9+/=]{20,}                                       # Bedrock's API keys
    | \btoken\s+[0-9a-f]{64}\b                                        # API tokens, as sent
    | \b(?:X-Amz-(?:Signature|Security-Token)|sig)=[^\s&"']{8,}       # signed addresses
    | (?:password|passwd|secret|session[_-]?token|client[_-]?token|ad[_-]?token|
         vault[_-]?token)["']?\s*[:=]\s*["']?[^\s"',}&]{4,}
    """,
    re.IGNORECASE | re.VERBOSE,
)
_SECRET_NAMES: Final = re.compile(
    r"(?:^|_)(?:api_?key|access_key|secret\w*|password|passwd|credentials?|authorization|"
    r"ad_token|session_token|vault_token|sdk_key|cookie)$",
    re.IGNORECASE,
)

_lock = threading.Lock()
_for_good: set[str] = set()
_remembered: OrderedDict[str, float] = OrderedDict()


# --- Known secrets ------------------------------------------------------------------------------


def remember_secret(*values: str) -> None:
    """Mask these values in everything that this process writes within the next 15 minutes."""
    now = time.monotonic()
    with _lock:
        for form in _forms(values):
            _remembered.pop(form, None)
            _remembered[form] = now + _REMEMBERED_SECONDS
        while _remembered and (
            len(_remembered) > _MAX_REMEMBERED or next(iter(_remembered.values())) < now
        ):
            _remembered.popitem(last=False)


def remember_settings(settings: Any) -> None:
    """Mask the secrets of the settings as long as the process lives."""
    names = (
        "SECRET_KEY",
        "CUS_KEY_HASH_SECRET",
        "CUS_SEAL_SECRET",
        "CUS_METRICS_TOKEN",
        "CUS_VAULT_TOKEN",
        "EMAIL_HOST_PASSWORD",
        "CUS_CREDENTIAL_KEYS",
    )
    values = [str(getattr(settings, name, "")) for name in names]
    values += [part.partition(":")[2] for part in re.split(r"[\s,]+", values[-1])]
    values += re.split(r"[\s,]+", str(getattr(settings, "CUS_SEAL_SECRET", "")))
    values += [str(database.get("PASSWORD") or "") for database in settings.DATABASES.values()]
    for name in ("REDIS_URL", "CELERY_BROKER_URL"):
        password = _password_of(str(getattr(settings, name, "")))
        values += [password, unquote(password)]
    with _lock:
        _for_good.update(_forms(values))


def _password_of(address: str) -> str:
    return urlsplit(address).password or ""


def _forms(values: Iterable[str]) -> set[str]:
    """The forms of a value in texts: as it is, and as JSON, Python, URLs and HTML escape it."""
    forms: set[str] = set()
    for value in values:
        if len(value) >= _MIN_LENGTH:
            escaped = json.dumps(value)[1:-1]
            forms |= {value, escaped, repr(value)[1:-1], quote(value, safe=""), html.escape(value)}
    return forms


# --- Masking ------------------------------------------------------------------------------------


def redact(text: str) -> str:
    """The text with secrets, and everything that looks like a secret, masked."""
    with _lock:
        known = [*_for_good, *_remembered]
    found = [secret for secret in known if secret in text]
    # The longest first, because a secret may be part of another.
    for secret in sorted(found, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return _LOOKS.sub(MASK, mask_secrets(text))


def redact_value(value: Any) -> Any:
    """A value of any type with its secrets masked; containers keep their shape."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {redact(str(key)): _redact_named(key, part) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact_value(part) for part in value]
    return redact(repr(value))


def _redact_named(name: Any, value: Any) -> Any:
    if isinstance(name, str) and value and _SECRET_NAMES.search(name):
        return MASK
    return redact_value(value)


def holds_secret(value: Any) -> bool:
    """Whether the value contains a secret that would be masked."""
    text = repr(value)
    return redact(text) != text


def redacted_traceback(error: BaseException) -> str:
    """The traceback as Python prints it, with causes, contexts and groups, without secrets."""
    return redact("".join(traceback.format_exception(error)))


# --- Hooks --------------------------------------------------------------------------------------


def redact_event(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """A structlog processor; place it after exceptions became text and before a renderer."""
    return {
        name: part if name.startswith("_") else _redact_named(name, part)
        for name, part in event.items()
    }


def redact_line(_logger: Any, _method: str, line: str) -> str:
    """A structlog processor; place it after a renderer that writes for people."""
    return redact(line)


class RedactingFilter(logging.Filter):
    """Masks a record's message, arguments and traceback, for every formatter."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true: a record is masked, not dropped."""
        if isinstance(record.msg, dict):  # structlog's own
            event = format_exc_info(None, "", dict(record.msg))
            record.msg = redact_event(None, "", dict(event))
            return True
        record.msg, record.args = redact(record.getMessage()), None
        if record.exc_info and record.exc_info[1]:
            # Formatters use `exc_text` if it is set.
            record.exc_text = redacted_traceback(record.exc_info[1]).rstrip("\n")
        if record.stack_info:
            record.stack_info = redact(record.stack_info)
        return True


def install(settings: Any) -> None:
    """Mask the process' warnings and uncaught errors; LOGGING masks its logs."""
    remember_settings(settings)
    logging.captureWarnings(capture=True)
    sys.excepthook = _say_why_we_die
    threading.excepthook = _say_why_a_thread_died


def _say_why_we_die(_kind: type[BaseException], error: BaseException, _trace: Any) -> None:
    sys.stderr.write(redacted_traceback(error))


def _say_why_a_thread_died(args: threading.ExceptHookArgs) -> None:
    if args.exc_value and not isinstance(args.exc_value, SystemExit):
        name = args.thread.name if args.thread else "a thread"
        sys.stderr.write(f"Exception in thread {name}:\n{redacted_traceback(args.exc_value)}")
