"""Functions that change sums and budgets may be called by the role alone that has that work."""

import pytest
from django.conf import settings
from django.db import connection

pytestmark = pytest.mark.django_db
_APP, _DECIDER = "application", "decider"


@pytest.mark.parametrize(
    ("function", "role"),
    [
        ("cus_sweep_limits(bigint)", _APP),
        ("cus_sweep_nothing(bigint)", _APP),
        ("cus_recount_runs(uuid, uuid)", _APP),
        ("cus_bound_runs(uuid, uuid, text, bigint)", _DECIDER),
    ],
)
def test_only_the_role_that_has_its_work_may_call_a_function(function: str, role: str) -> None:
    known_as = {
        _APP: str(connection.settings_dict["USER"]),
        _DECIDER: settings.CUS_DECIDER_ROLE,
        "everybody": "public",
    }
    may = "SELECT has_function_privilege(%s, %s, 'EXECUTE')"
    with connection.cursor() as cursor:
        allowed = {}
        for name, one in known_as.items():
            cursor.execute(may, [one, function])
            (allowed[name],) = cursor.fetchone()
    assert allowed[role]
    assert not allowed["everybody"]
    assert role == _DECIDER or not allowed[_DECIDER]
