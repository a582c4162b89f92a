"""Where an integration stands, and what its SDKs decide by: read without the lock."""

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from enforcement.cus_absence import DatabaseAbsent
from enforcement.cus_answers import AmountsAnswer, ConfigAnswer, OwnPriceAnswer, StatusAnswer
from enforcement.cus_authority import Known, remember_state
from enforcement.cus_check_keys import Caller
from enforcement.cus_decider import decider_pool
from enforcement.cus_decider_connection import DeciderConnection
from enforcement.cus_precedence import WARNING_PERCENT, Facts, Usage, decide
from enforcement.cus_reasons import period_end
from telemetry.cus_holds.holds import Value, read_values, reading_of

# Nobody's call waits for these, so they may take longer than a check.
_SECONDS = 2.0


def config_of(caller: Caller) -> ConfigAnswer:
    """What an SDK needs to know. Raises DatabaseTrouble."""
    whose = (caller.tenant_id, caller.integration_id)
    row: Mapping[str, Any] = msgspec.json.decode(_read(caller, "cus_read_config", *whose))
    remember_state(caller.integration_id, row)
    prices = msgspec.json.decode(row["overrides"]) if row["overrides"] else []
    shared = {name: row[name] for name in ConfigAnswer.__struct_fields__ if name in row}
    return ConfigAnswer(
        **shared
        | {
            "tenant_id": caller.tenant_id,
            "integration_id": caller.integration_id,
            "warning_threshold_percent": WARNING_PERCENT,
            "overrides": [OwnPriceAnswer(*price) for price in prices],
        }
    )


def status_of(caller: Caller) -> StatusAnswer:
    """Limits, usage, what is held and the verdict of now. Raises DatabaseTrouble."""
    whose = (caller.tenant_id, caller.integration_id)
    reading = reading_of(_read(caller, "cus_read", *read_values(*whose, [])), [])
    known = remember_state(caller.integration_id, reading.integration)
    usage = Usage(
        used=reading.used, held=reading.held, leased=reading.leased, admitted=reading.admitted
    )
    decision = decide(
        Facts(call_id="", evaluated_at=reading.now, authority=known.authority, usage=usage)
    )
    return StatusAnswer(
        tenant_id=caller.tenant_id,
        integration_id=caller.integration_id,
        **_limits(known),
        used=AmountsAnswer(*reading.used),
        held=AmountsAnswer(*reading.held),
        leased=AmountsAnswer(*reading.leased),
        admitted_last_minute=reading.admitted,
        period_end=period_end(reading.now),
        coverage_percent=known.row.get("coverage_percent"),
        result=decision.result,
        reasons=decision.reasons,
        evaluated_at=reading.now,
    )


def _limits(known: Known) -> dict[str, Any]:
    names = (
        "status",
        "enforcement_level",
        "budget_limit_cents",
        "budget_basis",
        "token_limit_month",
        "rate_limit_rpm",
        "config_version",
    )
    return {name: known.row[name] for name in names}


def _read(caller: Caller, statement: str, *values: Value) -> bytes:
    if caller.absent:
        raise DatabaseAbsent("it did not answer when asked about the key")

    def read(connection: DeciderConnection) -> list[bytes | None]:
        return connection.rows(connection.call(statement, *values))

    end_by = caller.began + _SECONDS
    rows = decider_pool().run(read, take_by=end_by, end_by=end_by)
    return cast("bytes", rows[0])  # a key's integration is there for ever
