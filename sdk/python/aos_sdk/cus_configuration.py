"""The configuration of capture and reporting in this process, set once by `cus_configure`."""

import logging
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from aos_sdk.cus_delivery.delivery import OnError
from aos_sdk.cus_delivery.spool import STATE_DIRECTORY
from aos_sdk.cus_enforcing.asked import (
    CusEnforceMode,
    CusEnforcing,
    CusOnThrottle,
    CusOnUnavailable,
)
from aos_sdk.cus_errors import CusConfigurationError
from aos_sdk.cus_reporter import (
    DEFAULT_BATCH_INTERVAL_SECONDS,
    DEFAULT_BATCH_SIZE,
    DEFAULT_MAX_QUEUE,
    CusReporter,
)
from aos_sdk.cus_scope import CusIdentity
from aos_sdk.cus_tags import tags_of

if TYPE_CHECKING:
    from aos_sdk.cus_enforcing.gate import CusGate

logger = logging.getLogger("aos_sdk")

CusStreamUsageMode = Literal["inject", "estimate"]

_YES: Final = frozenset({"1", "true", "yes", "on"})
_NO: Final = frozenset({"0", "false", "no", "off", ""})


@dataclass(frozen=True, slots=True)
class CusConfiguration:
    """The configuration of captured calls. `auto_report=False` lets every call pass unmeasured."""

    reporter: CusReporter
    auto_report: bool = True
    stream_usage: CusStreamUsageMode = "inject"
    session_id: str | None = None
    agent_id: str | None = None
    tags: tuple[str, ...] | None = None
    enforcing: CusEnforcing | None = None
    # Decides before the reporter's calls; None where nothing is enforced.
    gate: "CusGate | None" = None

    @property
    def identity(self) -> CusIdentity:
        """Whose the calls are that say nothing themselves."""
        return CusIdentity(self.session_id, self.agent_id, tags=self.tags)


class _Active:
    """The process' configuration; made of the environment at its first use."""

    def __init__(self) -> None:
        self.configuration: CusConfiguration | None = None
        self.restart_in_child()

    def restart_in_child(self) -> None:
        """Make a new lock after a fork: a thread of the parent may have held the old lock."""
        # Reentrant: a signal handler may make a call while this thread reads the environment.
        self._lock = threading.RLock()

    def get(self) -> CusConfiguration:
        if self.configuration is None:
            with self._lock:
                if self.configuration is None:
                    self.configuration = self._of_environment()
        return self.configuration

    def _of_environment(self) -> CusConfiguration:
        try:
            return _configuration()
        except CusConfigurationError as error:
            # Log instead of raising: no code of the program called this and could catch the error.
            logger.warning("calls are not captured: %s", error)
            return CusConfiguration(CusReporter(), auto_report=False)

    def replace(self, configuration: CusConfiguration | None) -> CusConfiguration | None:
        with self._lock:
            before, self.configuration = self.configuration, configuration
        return before


active: Final = _Active()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=active.restart_in_child)


def cus_configure(  # noqa: PLR0913 - the public surface, each argument by its name
    integration_key: str | None = None,
    base_url: str | None = None,
    *,
    auto_report: bool | None = None,
    batch_telemetry: bool | None = None,
    batch_size: int | None = None,
    batch_interval: float | None = None,
    enforce: CusEnforceMode | None = None,
    on_unavailable: CusOnUnavailable | None = None,
    throttle: CusOnThrottle | None = None,
    contention_seconds: float | None = None,
    spool_dir: str | os.PathLike[str] | None = STATE_DIRECTORY,
    max_queue: int | None = None,
    stream_usage: CusStreamUsageMode | None = None,
    session_id: str | None = None,
    agent_id: str | None = None,
    on_error: OnError | None = None,
) -> CusReporter:
    """Set how this process reports, and return its reporter. `CUS_…` variables set the rest.

       `batch_interval` is in seconds. `stream_usage` is `inject` (ask OpenAI for a stream's usage where
       that is known to work) or `estimate` (count locally). With `spool_dir=None` records wait in memory
       alone.

       `enforce` is `"auto"` (calls are refused as the integration's limits and status say), True (and
       no call runs while the integration's state is not known), `"check"` (the server is asked before
       every call) or False. `on_unavailable` says what becomes of a call whose limits can't be checked.
       With `throttle="wait"` a throttled call waits once, for a minute at most; a call waits
       `contention_seconds` for a server that is too busy.
    Without a key nothing is reported, and the program runs on. Raises CusConfigurationError
       for an invalid value. A second call replaces the configuration; the records of the former
       reporter are sent in the background.
    """
    configuration = _configuration(
        integration_key=integration_key,
        base_url=base_url,
        auto_report=auto_report,
        batch_telemetry=batch_telemetry,
        batch_size=batch_size,
        batch_interval=batch_interval,
        enforce=enforce,
        on_unavailable=on_unavailable,
        throttle=throttle,
        contention_seconds=contention_seconds,
        spool_dir=spool_dir,
        max_queue=max_queue,
        stream_usage=stream_usage,
        session_id=session_id,
        agent_id=agent_id,
        on_error=on_error,
    )
    active.replace(configuration)
    return configuration.reporter


def cus_get_reporter() -> CusReporter:
    """The reporter of `cus_configure`, or a reporter made of the environment."""
    return active.get().reporter


def cus_shutdown(timeout: float = 5.0) -> int:
    """Send the waiting records and end the background thread; return how many records are left.

    Returns within `timeout` seconds. Calls that are captured afterwards are still reported.
    """
    configuration = active.configuration
    return 0 if configuration is None else configuration.reporter.shutdown(timeout)


def _configuration(**given: Any) -> CusConfiguration:
    def setting(name: str, read: Any, default: Any = None) -> Any:
        value = given.get(name)
        return value if value is not None else _from_environment(name, read, default)

    batched = setting("batch_telemetry", _flag, default=True)
    reporter = CusReporter(
        given.get("integration_key"),
        given.get("base_url"),
        on_error=given.get("on_error"),
        batch_size=setting("batch_size", int, DEFAULT_BATCH_SIZE) if batched else 1,
        batch_interval=setting("batch_interval", float, DEFAULT_BATCH_INTERVAL_SECONDS),
        max_queue=setting("max_queue", int, DEFAULT_MAX_QUEUE),
        spool_dir=given.get("spool_dir", STATE_DIRECTORY),
    )
    stream_usage = setting("stream_usage", str, "inject")
    _one_of("stream_usage", stream_usage, get_args(CusStreamUsageMode))
    auto_report = setting("auto_report", _flag, default=True)
    enforcing = _enforcing(setting)
    return CusConfiguration(
        reporter,
        auto_report=auto_report,
        stream_usage=stream_usage,
        session_id=setting("session_id", str),
        agent_id=setting("agent_id", str),
        tags=_from_environment("default_tags", tags_of, None),
        enforcing=enforcing,
        gate=reporter.gate(enforcing) if auto_report else None,
    )


def _enforcing(setting: Any) -> CusEnforcing | None:
    """How calls are enforced; None for not at all."""
    enforce = setting("enforce", _enforce, default="auto")
    on_unavailable = setting("on_unavailable", str, "allow")
    throttle = setting("throttle", str, "raise")
    _one_of("enforce", enforce, (False, True, "auto", "check"))
    _one_of("on_unavailable", on_unavailable, get_args(CusOnUnavailable))
    _one_of("throttle", throttle, get_args(CusOnThrottle))
    if enforce is False:
        return None
    seconds = setting("contention_seconds", float, 2.0)
    return CusEnforcing(enforce, on_unavailable, throttle, min(max(seconds, 0.0), 60.0))


def _from_environment(name: str, read: Any, default: Any) -> Any:
    variable = f"CUS_{name.upper()}"
    text = os.environ.get(variable)
    if not text:
        return default
    try:
        return read(text)
    except ValueError as error:
        message = f"{variable} is {text!r}, which is not a valid value; see docs/sdk.md"
        raise CusConfigurationError(message) from error


def _flag(text: str) -> bool:
    if text.lower() not in _YES | _NO:
        raise ValueError(text)
    return text.lower() in _YES


def _enforce(text: str) -> bool | str:
    return text if text in ("auto", "check") else _flag(text)


def _one_of(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        message = f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}"
        raise CusConfigurationError(message)
