"""The limits at scopes that a process knows of an integration, and which of them count a call."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from aos_sdk.cus_limit_scopes import CusCallNames

# SQL for all limits of an integration ($2) and its tenant ($1) that may be in force, as `KnownLimit`
# has them, in the order in which they were made.
ALL_LIMITS: Final = """(SELECT coalesce(json_agg(json_build_array(scoped.id, scoped.scope,
            scoped.tag, scoped.value, scoped.unit, scoped."window", scoped.amount, scoped.basis,
            scoped.result, scoped.warning_percent, scoped.enabled,
            extract(epoch FROM scoped.valid_from)::float8,
            extract(epoch FROM scoped.valid_until)::float8)
            ORDER BY scoped.created_at, scoped.id), '[]')
        FROM cus_scoped_limits AS scoped
        WHERE scoped.tenant_id = $1 AND scoped.deleted_at IS NULL
            AND (scoped.integration_id = $2 OR scoped.integration_id IS NULL)
            AND (scoped.valid_until IS NULL OR scoped.valid_until > now()))"""


class LimitTerms(msgspec.Struct, frozen=True):
    """What a limit at a scope counts, and what it does; `value` is None for each value.

    `amount` is in cents, tokens or calls; by `basis`, cents are each call's cents rounded up, or exact.
    """

    id: str
    scope: str
    tag: str
    value: str | None
    unit: str
    window: str
    amount: int
    basis: str
    result: str


class KnownLimit(LimitTerms, frozen=True, array_like=True):
    """A limit at a scope as it is stored. Times are seconds of the epoch."""

    warning_percent: int
    enabled: bool
    valid_from: float
    valid_until: float | None


class CountedBy(NamedTuple):
    """A limit that counts a call, whether or not it applies now, and the call's value of its scope."""

    limit: KnownLimit
    value: str

    @property
    def key(self) -> tuple[str, str, str]:
        """By this the limit's totals, holds and leases are kept."""
        return self.limit.id, self.value, self.limit.window


class KnownLimits:
    """All limits of an integration, found by what calls name: in the time of those that count."""

    def __init__(self, limits: Sequence[KnownLimit] = ()) -> None:
        self.all = limits
        self._by_kind: dict[tuple[str, str], dict[str | None, list[tuple[int, KnownLimit]]]] = {}
        for place, limit in enumerate(limits):
            kind = self._by_kind.setdefault((limit.scope, limit.tag), {})
            kind.setdefault(limit.value, []).append((place, limit))

    def counting(self, names: CusCallNames) -> Sequence[CountedBy]:
        """The limits that count a call, in the order in which they were made.

        A limit counts also while it is disabled, or while another stands in for it: it knows what
        was used when it applies again.
        """
        found: list[tuple[int, KnownLimit, str]] = []
        for (scope, tag), by_value in self._by_kind.items():
            value = names.value(scope, tag)
            if value is not None:
                of_value: Iterable[tuple[int, KnownLimit]] = (
                    *by_value.get(value, ()),
                    *by_value.get(None, ()),
                )
                found += [(place, limit, value) for place, limit in of_value]
        found.sort(key=_place)
        return [CountedBy(limit, value) for _, limit, value in found]

    @property
    def scopes(self) -> Mapping[tuple[str, str], object]:
        """The scopes, with the keys of tags, of which there is a limit."""
        return self._by_kind


def _place(found: tuple[int, KnownLimit, str]) -> int:
    return found[0]


NO_LIMITS: Final = KnownLimits()
