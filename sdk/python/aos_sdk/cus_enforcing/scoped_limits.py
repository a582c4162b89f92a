"""Limits at scopes as the configuration tells them: by which names of calls leases differ (F5c).

A lease is of the limits that apply to one combination of these names. The server says how much;
what applies to a call is the same rule here and there (`cus_limit_scopes`).
"""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol

from aos_sdk.cus_enforcing.run_budget import CusRun
from aos_sdk.cus_limit_scopes import OF_ALL_CALLS, CusCallNames, CusLimitScope, applying

# An end user's pseudonym, which only the server can make of a name.
PSEUDONYM: Final = "hmac-sha256:"


class CusNamed(Protocol):
    """What a call names that limits may count by."""

    @property
    def model(self) -> str | None: ...
    @property
    def agent_id(self) -> str | None: ...
    @property
    def session_id(self) -> str | None: ...
    @property
    def end_user(self) -> str | None: ...
    @property
    def tags(self) -> tuple[str, ...] | None: ...


class CusKnownLimit(NamedTuple):
    """A limit of the configuration, as `cus_limit_scopes.applying` reads it."""

    id: str
    scope: str
    tag: str
    value: str | None
    unit: str
    window: str
    amount: int
    valid_from: float
    valid_until: float | None

    @classmethod
    def read(cls, one: Mapping[str, Any]) -> "CusKnownLimit":
        """A limit of the server's answer. Raises ValueError for times that are none."""
        value, until = one.get("value"), _seconds(one.get("valid_until"))
        scope = str(one.get("scope"))
        if scope in OF_ALL_CALLS:
            value = ""
        return cls(
            str(one.get("id")),
            scope,
            str(one.get("tag") or ""),
            None if value is None else str(value),
            str(one.get("unit")),
            str(one.get("window")),
            amount if type(amount := one.get("amount")) is int else 0,
            _seconds(one.get("valid_from")) or 0.0,
            until,
        )


def _seconds(text: Any) -> float | None:
    return datetime.fromisoformat(text).timestamp() if isinstance(text, str) else None


class CusCombination(NamedTuple):
    """Names of calls that share a lease: the scopes by which leases differ, and a call's values.

    `run` is the budget in code of the call's session, which has to be told before a lease is of it.
    """

    scopes: tuple[tuple[str, str], ...] = ()
    values: tuple[str | None, ...] = ()
    run: CusRun | None = None

    def as_json(self) -> dict[str, Any]:
        """`scopes` of a lease's request."""
        names = {name: value for name, value in self.names()._asdict().items() if value}
        # Null says that these calls name no session, as against any.
        return {"session_id": None, **names} if _SESSION in self.scopes else names

    def names(self) -> CusCallNames:
        """The names of a call of this combination."""
        said: dict[str, Any] = {"tags": []}
        for (scope, tag), value in zip(self.scopes, self.values, strict=True):
            if value is None:
                continue
            if scope == CusLimitScope.TAG:
                said["tags"].append(f"{tag}={value}")
            else:
                said[scope] = value
        return CusCallNames(**said)

    @property
    def session_id(self) -> str | None:
        """The session, where leases differ by it."""
        return self.names().session_id


# Of an integration without limits at scopes, and of a server that knows none.
ANY_CALL: Final = CusCombination()


class CusScopedLimits(NamedTuple):
    """The limits of a configuration; by which scopes leases differ; and the calls without leases."""

    limits: tuple[CusKnownLimit, ...] = ()
    scopes: tuple[tuple[str, str], ...] = ()
    default_model: str | None = None
    # Whether a limit is of an end user's pseudonym: calls that name an end user have a check each.
    has_pseudonyms: bool = False
    # Whether the server knows limits at scopes at all.
    is_known: bool = False

    @classmethod
    def read(
        cls, configuration: Mapping[str, Any] | None, *, by_session: bool = False
    ) -> "CusScopedLimits":
        """The limits of a configuration, in the order in which they were made.

        `by_session`: sessions have budgets in code, maybe of other programs, so leases differ by them.
        """
        content = (configuration or {}).get("limits")
        if configuration is None or not isinstance(content, list):
            return cls()
        limits = tuple(CusKnownLimit.read(one) for one in content if isinstance(one, Mapping))
        scopes = {(one.scope, one.tag) for one in limits if one.scope not in OF_ALL_CALLS}
        scopes |= {_SESSION} if by_session else set()
        hashed = any(
            one.scope == CusLimitScope.END_USER and (one.value or "").startswith(PSEUDONYM)
            for one in limits
        )
        default = configuration.get("default_model")
        default = default if isinstance(default, str) else None
        return cls(limits, tuple(sorted(scopes)), default, hashed, is_known=True)

    def scopes_of(self, run: CusRun | None) -> tuple[tuple[str, str], ...]:
        """By which scopes leases differ; a budget in code is a limit of its session."""
        if run is None or _SESSION in self.scopes:
            return self.scopes
        return (*self.scopes, _SESSION)

    def combination(self, call: CusNamed, run: CusRun | None) -> CusCombination | None:
        """The names by which the call's lease is found; None where a check has to decide."""
        if self.has_pseudonyms and call.end_user:
            return None
        scopes = self.scopes_of(run)
        names = CusCallNames(
            call.model or self.default_model,
            call.agent_id,
            call.session_id,
            call.end_user,
            call.tags or (),
        )
        return CusCombination(
            scopes, tuple([names.value(scope, tag) for scope, tag in scopes]), run
        )

    def lacks(self, names: CusCombination, ids: frozenset[str]) -> bool:
        """Whether a limit applies to calls with these names of whose kind none has one of the ids.

        By kinds, because it depends on the time alone which limit of a kind applies, and no two
        clocks are compared.
        """
        known = {_kind(limit) for limit in self.limits if limit.id in ids}
        found = applying(self.limits, names.names(), time.time())
        return any(_kind(limit) not in known for limit, _ in found)


def _kind(limit: CusKnownLimit) -> tuple[str, str, str, str]:
    return limit.scope, limit.tag, limit.unit, limit.window


_SESSION: Final = (str(CusLimitScope.SESSION), "")
