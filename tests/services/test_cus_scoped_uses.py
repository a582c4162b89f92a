"""What people see of the use of limits at scopes: what landed, what is held, what is lent."""

from typing import Any

import pytest

from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_limits.models import CusScopedLimit
from integrations.cus_limits.uses import Part, Use, Uses, uses_shown
from telemetry.cus_holds.scoped_uses import uses_of
from tests.conftest import as_if
from tests.cus_factories import SdkClient, make_integration, record
from tests.cus_limits import make_limit

pytestmark = pytest.mark.django_db(transaction=True)
CENT = 1_000_000


def _uses(limit: CusScopedLimit, most: int = 5) -> Uses:
    return uses_of([limit], most)[limit.id]


def test_a_limit_that_counts_nothing_yet_has_no_values(integration: CusIntegration) -> None:
    assert _uses(make_limit(integration, "agent_id", None)) == Uses()


@pytest.mark.parametrize("window", ["minute", "day", "week", "month", "life"])
@pytest.mark.parametrize(
    ("fields", "used"),
    [
        ({"unit": "cents"}, 3 * CENT),
        # gpt-4o: $2.50 a million tokens of input, $10 of output.
        ({"unit": "cents", "basis": "exact"}, 11_250),
        ({"unit": "tokens"}, 15),
        ({"unit": "calls"}, 1),
    ],
)
def test_what_landed_is_told_in_the_unit_over_the_window(
    integration: CusIntegration, sdk: SdkClient, window: str, fields: dict[str, Any], used: int
) -> None:
    limit = make_limit(integration, "session_id", "s", window=window, **fields)
    sdk.report(record(session_id="s", tokens_in=5, tokens_out=10, cost_cents=3))
    (use,) = _uses(limit).fullest
    assert (use.value, use.used) == ("s", used)


@pytest.mark.parametrize("window", ["minute", "day", "week", "month"])
def test_a_window_that_is_over_counts_no_more(
    integration: CusIntegration, sdk: SdkClient, window: str
) -> None:
    limit = make_limit(integration, "integration", "", window=window, unit="calls")
    sdk.report(record())
    assert _uses(limit).values == 1
    as_if("UPDATE cus_limit_totals SET start = start - interval '32 days'")
    assert _uses(limit) == Uses()


def test_held_and_lent_stand_beside_what_landed(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    limit = make_limit(integration, "agent_id", None, amount=1_000)
    sdk.report(record(agent_id="crawler", cost_cents=7))
    sdk.check(agent_id="crawler", estimated_cost_cents=2)
    assert _uses(limit) == Uses(1, (Use("crawler", 7 * CENT, 2 * CENT, 0),))
    lease = sdk.lease(cents=5, tokens=10, scopes={"agent_id": "crawler"})
    assert lease.json()["lease_id"], lease.content
    (use,) = _uses(limit).fullest
    assert (use.used, use.held) == (7 * CENT, 2 * CENT)
    assert use.lent >= 5 * CENT
    assert use.taken == use.used + use.held + use.lent


def test_of_a_limit_of_each_value_the_fullest_come_first_and_all_are_counted(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    limit = make_limit(integration, "agent_id", None)
    sdk.report_batch(*(record(agent_id=f"a-{cents}", cost_cents=cents) for cents in range(1, 6)))
    uses = _uses(limit, most=2)
    assert uses.values == 5
    assert [use.value for use in uses.fullest] == ["a-5", "a-4"]


def test_a_limit_of_the_tenant_sums_its_integrations_and_no_others(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    limit = make_limit(integration, "tenant", "", unit="calls")
    sdk.report(record())
    SdkClient.of(make_integration(integration.tenant)).report(record())
    SdkClient.of(make_integration()).report(record())
    assert _uses(limit).fullest == (Use("", 2),)


@pytest.mark.parametrize("basis", ["rounded", "exact"])
def test_of_a_limit_of_the_tenant_its_integrations_have_what_they_took_and_are_allotted(
    integration: CusIntegration, sdk: SdkClient, basis: str
) -> None:
    other = make_integration(integration.tenant)
    limit = make_limit(integration, "tenant", "", basis=basis)
    sdk.check("one", estimated_cost_cents=10)
    SdkClient.of(other).check("one", estimated_cost_cents=30)
    first, second = _uses(limit).parts
    assert (first.integration, first.taken) == (other.name, 30 * CENT)
    assert (second.integration, second.taken) == (integration.name, 10 * CENT)
    assert second.allotted > second.taken
    assert first.allotted + second.allotted <= 100 * CENT
    # A list of limits does not read them.
    assert _uses(limit, most=1).parts == ()


def test_integrations_that_took_nothing_are_not_shown(integration: CusIntegration) -> None:
    assert _uses(make_limit(integration, "tenant", "")).parts == []


def test_a_page_of_a_limit_of_the_tenant_shows_its_integrations(
    integration: CusIntegration,
) -> None:
    limit = make_limit(integration, "tenant", "", unit="tokens", amount=1_000)
    uses = Uses(1, (Use("", 20),), (Part("Support", 20, 450),))
    shown = str(uses_shown(limit, uses))
    for text in ("Support", "Allotted", "450"):
        assert text in shown
