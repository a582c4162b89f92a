"""Each limit is one row, and everything that knows of limits has all of them."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db.models import IntegerField

from enforcement.cus_checks.serializers import ConfigResult, StatusResult
from enforcement.cus_rules.facts import POLICY, Authority, Facts, Usage
from enforcement.cus_rules.precedence import decide
from integrations.cus_integrations.form import IntegrationForm
from integrations.cus_integrations.serializers import IntegrationChange, IntegrationOutput
from integrations.cus_integrations.service import MUTABLE
from integrations.cus_lifecycle.limits import (
    LIMIT_COLUMNS,
    LIMITS,
    RATES,
    Admissions,
    Limit,
    LimitColumns,
    Unit,
)
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_holds.limits_api import LimitsOutput
from telemetry.cus_money.amounts import Amounts
from tests.cus_factories import ENFORCEMENT, SdkClient

NOW = datetime(2026, 11, 22, 14, 0, tzinfo=UTC)
each_limit = pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.column)


def test_the_structs_beside_the_table_have_a_field_for_each_row() -> None:
    assert LimitColumns.__struct_fields__ == tuple(limit.column for limit in LIMITS)
    assert Admissions.__struct_fields__ == tuple(limit.admissions for limit in RATES)
    for name in ("column", "kind", "shown_as"):
        assert len({getattr(limit, name) for limit in LIMITS}) == len(LIMITS)


@each_limit
def test_the_column_is_called_as_its_row_says_and_takes_as_much(limit: Limit) -> None:
    field = CusIntegration._meta.get_field(limit.column)
    assert isinstance(field, IntegerField)
    assert field.verbose_name == limit.label
    kinds = {"PositiveIntegerField": 2**31 - 1, "PositiveBigIntegerField": 2**63 - 1}
    assert kinds[field.get_internal_type()] == limit.most


@each_limit
def test_it_can_be_set_and_is_shown_wherever_limits_are(limit: Limit) -> None:
    assert limit.column in MUTABLE
    assert IntegrationChange().fields[limit.column].help_text == limit.help
    for shown in (IntegrationOutput, ConfigResult, StatusResult):
        assert {limit.column, *limit.settings} <= shown().fields.keys(), shown
    assert limit.shown_as in LimitsOutput().fields
    box = limit.kind if limit.unit is Unit.CENTS else limit.column
    assert box in IntegrationForm.base_fields


def _facts(limit: Limit, taken: int) -> Facts:
    """A call of nothing where that limit alone is set, to 10, and so much is taken of it."""
    columns: dict[str, Any] = dict.fromkeys(LimitColumns.__struct_fields__, 0)
    counts: dict[str, Any] = {one.admissions: taken for one in RATES}
    authority = Authority(
        status="enabled", credential_state="valid", enforcement_level="block",
        budget_basis="rounded", allow_unpriced=False, config_version=1,
        **(columns | {limit.column: 10}),
    )  # fmt: skip
    used = Amounts(taken, taken * 1_000_000, taken)
    return Facts(
        call_id="call", evaluated_at=NOW, authority=authority, usage=Usage(used=used, **counts)
    )


@each_limit
def test_it_alone_is_enough_to_hold_for_calls_and_to_refuse_them(limit: Limit) -> None:
    facts = _facts(limit, 10)
    decision = decide(facts)

    assert facts.authority
    assert facts.authority.is_limited
    assert decision.step == limit.reached.step
    assert decision.result == limit.reached.result
    (reason,) = decision.reasons
    assert (reason.code, reason.limit_type) == (limit.reached.code, limit.kind)
    assert (reason.limit_value, reason.current_value) == (10, 10)
    assert "{" not in reason.message
    assert POLICY.windows[limit.kind] is limit.window
    assert reason.retry_after_seconds == limit.window.wait_seconds(NOW, limit.window.end(NOW))


@each_limit
def test_it_warns_from_80_percent_on_if_its_row_says_so(limit: Limit) -> None:
    (reason,) = decide(_facts(limit, 8)).reasons
    assert reason.code == (limit.near.code if limit.near else "all_checks_passed")
    assert "{" not in reason.message
    assert decide(_facts(limit, 7)).is_plain


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("path", "shape"), [("status", StatusResult), ("config", ConfigResult)])
def test_what_is_answered_has_the_fields_that_the_document_says(
    sdk: SdkClient, path: str, shape: type[StatusResult] | type[ConfigResult]
) -> None:
    answer: dict[str, Any] = sdk.client.get(f"{ENFORCEMENT}/{path}").json()
    assert answer.keys() == shape().fields.keys()
    assert [name for name in answer if name in LIMIT_COLUMNS] == list(LIMIT_COLUMNS)
