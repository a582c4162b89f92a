"""An integration's status, and the configuration of its SDKs; both are read without the lock."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from aos_sdk.cus_limit_scopes import CusCallNames
from enforcement.cus_checks.answers import (
    AmountsAnswer,
    AnsweringModelsAnswer,
    LearnedOutputAnswer,
    LimitAnswer,
    LimitTakenAnswer,
    OwnPriceAnswer,
)
from enforcement.cus_checks.keys import Caller
from enforcement.cus_checks.rounds import usage_of
from enforcement.cus_checks.scopes import CallScopes, facts_at_scopes
from enforcement.cus_reading.absence import DatabaseAbsent
from enforcement.cus_reading.connection import DeciderConnection
from enforcement.cus_reading.decider import decider_pool
from enforcement.cus_reading.known_models import READ_MODELS, KnownModels, models_of
from enforcement.cus_rules.authority import remember_state
from enforcement.cus_rules.facts import POLICY, Facts
from enforcement.cus_rules.precedence import decide
from integrations.cus_lifecycle.limits import (
    LIMIT_COLUMNS,
    RATES,
    month_end,
)
from telemetry.cus_holds.holds import Value, read_values, reading_of

# No call waits for these reads, so they may take longer than a check.
_SECONDS = 2.0


def config_of(caller: Caller) -> dict[str, Any]:
    """The SDK's configuration, as `ConfigResult` describes it. Raises DatabaseTrouble."""
    whose = (caller.tenant_id, caller.integration_id)
    document, read = _read(caller, ("cus_read_config", whose), (READ_MODELS, whose))
    models = models_of(read)
    limits = [limit for limit in models.limits.all if limit.enabled]
    row: Mapping[str, Any] = msgspec.json.decode(document)
    known = remember_state(caller.integration_id, row)
    prices = msgspec.json.decode(row["overrides"]) if row["overrides"] else []
    return {
        "tenant_id": caller.tenant_id,
        "integration_id": caller.integration_id,
        **{name: row[name] for name in (*_ABOUT_PROVIDER, *_GOVERNING)},
        "is_limited": known.authority.is_limited or bool(limits),
        "warning_threshold_percent": POLICY.warning_percent,
        "overrides": [OwnPriceAnswer(*price) for price in prices],
        "stops": [
            {"scope": stop.scope, "value": stop.value, "reason": stop.reason}
            for stop in known.stops.values()
        ],
        "limits": [LimitAnswer.of(limit) for limit in limits],
        **_learned(row, models),
    }


def _learned(row: Mapping[str, Any], models: KnownModels) -> dict[str, Any]:
    """What calls taught: how long outputs are, if they are held for by that, and who answers."""
    outputs = models.outputs if row["estimate_basis"] == "learned" else ()
    return {
        "learned_outputs": [LearnedOutputAnswer(*output) for output in outputs],
        "answering_models": [AnsweringModelsAnswer(*one) for one in models.answering.items()],
    }


def status_of(caller: Caller) -> dict[str, Any]:
    """Limits, usage, holds and the current verdict, as `StatusResult` describes them.

    Raises DatabaseTrouble.
    """
    whose = (caller.tenant_id, caller.integration_id)
    (known_of,) = _read(caller, (READ_MODELS, whose))
    models = models_of(known_of)
    # Of a call that names nothing: the limits that count all calls.
    scopes = CallScopes(CusCallNames(), models.limits.counting(CusCallNames()))
    # Without its share of limits of the tenant: a check would get more of them.
    (document,) = _read(caller, ("cus_read", read_values(*whose, [], limits=scopes.keys)))
    reading = reading_of(document, [], scopes.keys)
    known = remember_state(caller.integration_id, reading.integration)
    usage = usage_of(reading)
    limits = facts_at_scopes(scopes, None, reading.limits, reading.now)
    decision = decide(
        Facts(
            call_id="",
            evaluated_at=reading.now,
            authority=known.authority,
            usage=usage,
            limits=limits,
        )
    )
    return {
        "tenant_id": caller.tenant_id,
        "integration_id": caller.integration_id,
        **{name: known.row[name] for name in _GOVERNING},
        "used": AmountsAnswer(*reading.used),
        "held": AmountsAnswer(*reading.held),
        "leased": AmountsAnswer(*reading.leased),
        **{limit.admissions_shown_as: getattr(usage, limit.admissions) for limit in RATES},
        "limits": [LimitTakenAnswer.of(limit) for limit in limits],
        "period_end": month_end(reading.now),
        "coverage_percent": known.row.get("coverage_percent"),
        "result": decision.result,
        "reasons": decision.reasons,
        "evaluated_at": reading.now,
    }


# The columns of both answers, and those of the configuration alone.
_GOVERNING = ("status", "enforcement_level", *LIMIT_COLUMNS, "config_version")
_ABOUT_PROVIDER = ("provider_type", "default_model", "credential_state", "allow_unpriced")


def _read(caller: Caller, *statements: tuple[str, Sequence[Value]]) -> list[bytes]:
    """The document of each statement, read in one message."""
    if caller.absent:
        raise DatabaseAbsent("the database did not answer when asked about the key")

    def read(connection: DeciderConnection) -> list[list[bytes | None]]:
        calls = (connection.call(name, *values) for name, values in statements)
        return connection.all_rows("; ".join(calls))

    end_by = caller.began + _SECONDS
    found = decider_pool().run(read, take_by=end_by, end_by=end_by)
    return [cast("bytes", rows[0]) for rows in found]  # Rows of integrations are never deleted.
