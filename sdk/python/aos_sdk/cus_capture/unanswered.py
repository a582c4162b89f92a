"""Calls that ended without an answer: the provider may have run them, and may bill them."""

from typing import Final

from aos_sdk.cus_wire import CusOperation

# The operations whose prompts and answers can be counted here.
COUNTABLE: Final = frozenset({CusOperation.CHAT, CusOperation.RESPONSES, CusOperation.COMPLETION})

# Names of exception classes or their bases, so that no provider's package is imported: timeouts and
# disconnects of the packages, their HTTP clients, asyncio and Python itself.
_UNANSWERED: Final = frozenset(
    {
        *("APIConnectionError", "TransportError", "CancelledError", "TimeoutError"),
        *("ConnectionError", "ReadTimeoutError", "ProtocolError"),  # urllib3's, too
        *("ClientConnectionError", "ClientPayloadError"),  # aiohttp's
    }
)
# Errors before the request has left the program.
_NEVER_SENT: Final = frozenset(
    {
        *("ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError"),
        *("UnsupportedProtocol", "LocalProtocolError", "ConnectionRefusedError", "gaierror"),
        *("NewConnectionError", "ConnectTimeoutError", "ClientConnectorError"),
        *("ConnectionTimeoutError", "UnixClientConnectorError"),
    }
)
_MOST_CAUSES: Final = 10


def is_unanswered(error: BaseException) -> bool:
    """Whether the request may have been sent before this error, without an answer.

    False for an error status, which is an answer; for a client that refuses its arguments; and for
    a connection that was never made.
    """
    # A BaseException ends the call from outside: Ctrl-C, the end of the program or task.
    if isinstance(error, Exception) and not _is_a(error, _UNANSWERED):
        return False
    cause: BaseException | None = error
    for _ in range(_MOST_CAUSES):
        if cause is None:
            return True
        if _is_a(cause, _NEVER_SENT):
            return False
        cause = cause.__cause__
    return True


def _is_a(error: BaseException, names: frozenset[str]) -> bool:
    return any(base.__name__ in names for base in type(error).__mro__)
