"""Get an integration more of a limit of its tenant, when its allotment runs dry (ruling F5c).

All within the transaction that holds the integration's lock. The tenant's lock, which only those
take who need more, is waited for as long as a check may wait for its integration's.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

import msgspec
from psycopg import errors

from enforcement.cus_checks.keys import Caller
from enforcement.cus_checks.locked import Contended, lock_tenant_in_time, rows_in_time
from enforcement.cus_checks.rounds import Verdict
from enforcement.cus_reading.connection import DeciderConnection
from enforcement.cus_rules.lending import Holder, shares_wanted
from enforcement.cus_rules.measures import Measure
from enforcement.cus_rules.precedence import decide
from enforcement.cus_rules.scoped import ScopedFact
from telemetry.cus_holds.allotments import Need, need_values, take_back_values, tried_of

# How often the locks of others are tried, and how many seconds apart: their checks are short.
_TRIES: Final = 4
_BETWEEN_SECONDS: Final = 0.002


def needs_of(verdicts: Iterable[Verdict]) -> list[Need]:
    """What a round's calls need of the limits of the tenant that refuse any of them only for want
    of an allotment: enough for all the calls that the limit has room for."""
    needs: dict[str, Need] = {}
    lacking: set[str] = set()
    for verdict in verdicts:
        for fact, measure in _with_room(verdict):
            before = needs[fact.id].need if fact.id in needs else 0
            needs[fact.id] = _need(fact, before + measure.estimate)
        lacking |= _lacking(verdict)
    return [needs[limit_id] for limit_id in sorted(lacking)]


def _with_room(verdict: Verdict) -> Iterator[tuple[ScopedFact, Measure]]:
    """The limits of the tenant that the call would fit, were nothing left to other integrations."""
    for fact in verdict.facts.limits if verdict.is_by_usage else ():
        measure = fact.measure(verdict.facts.estimate)
        if fact.is_shared and measure.fits_alone:
            yield fact, measure


def _lacking(verdict: Verdict) -> set[str]:
    """The limits of the tenant that refuse the call only for want of an allotment."""
    return {
        fact.id
        for fact, measure in _with_room(verdict)
        if measure.lacks_allotment and not verdict.facts.is_admitted_by(fact)
    }


def unless_contended(verdict: Verdict) -> Verdict:
    """The verdict where nobody could refill in time: load, for a call that lacks an allotment."""
    if verdict.decision.admits or not _lacking(verdict):
        return verdict
    facts = msgspec.structs.replace(verdict.facts, contended=True)
    return verdict._replace(decision=decide(facts), facts=facts)


def needs_of_lease(verdict: Verdict, holder: Holder, *, holders: int) -> list[Need]:
    """What of limits of the tenant must be allotted, so that a holder's lease is not small for want
    of it alone. The verdict is on one of its calls."""
    found = []
    for fact, measure in _with_room(verdict):
        wanted = shares_wanted(holder, fact.binds, holders=holders)
        if fact.elsewhere and measure.free < wanted:
            found.append(_need(fact, wanted))
    return sorted(found)


def _need(fact: ScopedFact, amount: int) -> Need:
    return Need(fact.id, fact.window, fact.binds, fact.amount, amount)


def refill(
    connection: DeciderConnection, caller: Caller, needs: Sequence[Need], now: datetime | None
) -> bool:
    """Allot the integration what it needs, as far as there is any; what others have not spent is
    taken back for it. False if the tenant's lock was not free in time: then nothing has changed.
    Raises Contended, EvidenceUnreadable.
    """
    values = need_values(caller.tenant_id, caller.integration_id, needs, now)
    attempt = connection.call("cus_try_unspent", *values)
    tried = _tried_in_time(connection, caller, attempt)
    if tried is None:
        return False
    ours, others = tried_of(tried)
    for _ in range(_TRIES - 1):
        if not others:
            break
        time.sleep(_BETWEEN_SECONDS)
        (tried,) = rows_in_time(connection, attempt)
        more, others = tried_of(tried)
        ours |= more
    statements = [connection.call("cus_allot", *values)]
    if ours:
        statements.insert(0, connection.call("cus_take_back", *take_back_values(values, ours)))
    # Only a sweeper could have locked a row, for a moment.
    rows_in_time(connection, *statements, waits=len(statements))
    return True


def _tried_in_time(
    connection: DeciderConnection, caller: Caller, attempt: str
) -> Sequence[bytes | None] | None:
    """The rows of a first attempt under the tenant's lock; None if the lock was not free in time.

    The calls of the round that need no more go on with the integration's lock.
    """
    try:
        lock = lock_tenant_in_time(caller)
        _, tried = connection.all_rows(f"SAVEPOINT cus_refill; {lock}; {attempt}")
    except Contended:
        return None
    except (errors.LockNotAvailable, errors.QueryCanceled):
        connection.rows("ROLLBACK TO SAVEPOINT cus_refill")
        return None
    return tried
