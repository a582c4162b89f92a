"""Every page of the console that changes access asks first who one is (ruling C10)."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django_otp.plugins.otp_totp.models import TOTPDevice

from integrations.cus_accounts.models import CusUser
from tests.admin.cus_console_world import BUTTONS, PAGES, World, make_world
from tests.cus_factories import limit_boxes, make_user, signed_in
from tests.cus_proofs import access_rows, stale

pytestmark = pytest.mark.django_db

A = "/admin/integrations/"
_LIMITS = {
    **limit_boxes(budget="1"),
    "enforcement_level": "block",
    "max_live_holds": "10000",
}
# Of the console's own pages, those that change access. What is not named here must not.
FORMS = {
    "cusintegration/add",
    "cusintegration/change with a credential",
    "cusmembership/add",
    "cusmembership/change",
    "cusapitoken/add",
    "cussdkkey/add",
}
BUTTONS_OF_ACCESS = {
    "cusintegration/remove",
    "cusmembership/end_sessions",
    "cusmembership/remove",
    "custenant/close",
    "cususer/deactivate",
    "cususer/reactivate",
    "cususer/make_support",
    "cususer/make_finance",
    "cususer/make_operator",
    "cususer/revoke_role",
    "cususer/reset_second_factor",
    "cususer/end_sessions",
    "cusapitoken/revoke",
    "cussdkkey/revoke",
}
# Pages of no model. Those that change access stand in `OTHERS`.
OTHERS = {
    "cus-password-change",
    "cus-second-factor-setup",
    "cus-recovery-codes",
    "cus-session-end",
    "cus-sessions-end-others",
}
# Those of guided creation: `test_cus_start_pages.py` asks them.
_GUIDED = {"cus-start-tenant", "cus-start-provider", "cus-start-credential", "cus-start-key"}
_HARMLESS = {
    "cus-cost",
    "cus-coverage",
    "cus-local-mails",
    "cus-notifications",
    "cus-run-limit",
    "cus-run-limits",
    "cus-seals",
    "cus-simulation",
    "cus-start",
    "cus-start-call",
    "cus-start-limits",
    "cus-start-test",
    "cus-statement",
    "cus-statement-close",
    "cus-statement-invoices",
    "cus-statement-now",
    "cus-system",
    "cus-what-if",
    "app_list",
    "autocomplete",
    "cus-find",
    "cus-prove",
    "cus-second-factor",
    "cus-sessions",
    "index",
    "jsi18n",
    "login",
    "logout",
    # Hidden behind `cus-password-change`, which stands at the same address.
    "password_change",
    "password_change_done",
    "search",
    "view_on_site",
    # The mailed link is the proof.
    "admin_password_reset",
    "password_reset_complete",
    "password_reset_confirm",
    "password_reset_done",
}
# What an operator enters in the forms, beside the rows that they name.
_INTEGRATION = {"name": "Entered", "provider_type": "openai"} | _LIMITS
_SECRET = {"secret_api_key": "sk-test-fedcba9876543210"}
_PRICE = {
    "model": "walked",
    "valid_from_0": "2026-11-01",
    "valid_from_1": "00:00:00",
    "price_input": "1",
    "price_output": "2",
}
_RATE = {
    "currency": "EUR",
    "rate": "0.92",
    "valid_from_0": "2026-11-02",
    "valid_from_1": "00:00:00",
}
_STOP = {"scope": "agent_id", "value": "a", "reason": "It loops."}
_LIMIT = {
    "scope": "agent_id",
    "value": "a",
    "unit": "cents",
    "window": "day",
    "amount": "5.00",
    "warning_percent": "80",
}
_INCREASE = {
    "amount": "9.00",
    "valid_until_0": "2099-01-01",
    "valid_until_1": "00:00:00",
    "reason": "The launch.",
}


@pytest.fixture
def world() -> World:
    return make_world()


@pytest.fixture
def operator() -> CusUser:
    return make_user("operator")


def _forms(world: World) -> dict[str, tuple[str, dict[str, str]]]:
    """What is posted where, by the page's name: all forms that an operator is offered."""
    row: Any = world.own["cusintegration"]
    row.refresh_from_db()
    tenant, integration = str(world.tenant.pk), str(row.pk)
    limit = world.own["cusscopedlimit"].pk
    change = _INTEGRATION | {"tenant": tenant, "seen_version": str(row.config_version)}
    return {
        "cusintegration/add": ("cusintegration/add/", change | _SECRET),
        "cusintegration/change": (f"cusintegration/{integration}/change/", change),
        "cusintegration/change with a credential": (
            f"cusintegration/{integration}/change/",
            change | _SECRET,
        ),
        "cuspriceoverride/add": ("cuspriceoverride/add/", _PRICE | {"tenant": tenant}),
        "cusdisplayrate/add": ("cusdisplayrate/add/", _RATE | {"tenant": tenant}),
        "cusmembership/add": (
            "cusmembership/add/",
            {"tenant": tenant, "invited_email": "ada@example.com", "role": "member"},
        ),
        "cusmembership/change": (
            f"cusmembership/{world.own['cusmembership'].pk}/change/",
            {"role": "admin"},
        ),
        "cusstop/add": ("cusstop/add/", _STOP | {"integration": integration}),
        "cusscopedlimit/add": ("cusscopedlimit/add/", _LIMIT | {"integration": integration}),
        "cusscopedlimit/change": (
            f"cusscopedlimit/{limit}/change/",
            {"amount": "6.00", "warning_percent": "80", "seen_version": "1"},
        ),
        "cusincreaserequest/add": (
            "cusincreaserequest/add/",
            _INCREASE | {"which": f"limit:{limit}"},
        ),
        "cusnotificationtarget/add": (
            "cusnotificationtarget/add/",
            {"tenant": tenant, "medium": "email", "address": "ada@example.com"},
        ),
        "cusnotificationtarget/change": (
            f"cusnotificationtarget/{world.own['cusnotificationtarget'].pk}/change/",
            {"muted_kinds": "limit_80"},
        ),
        "custenant/add": ("custenant/add/", {"name": "Another"}),
        "custenant/change": (f"custenant/{tenant}/change/", {"name": "Renamed"}),
        "cusapitoken/add": ("cusapitoken/add/", {"name": "x"}),
        "cussdkkey/add": ("cussdkkey/add/", {"integration": integration, "label": "x"}),
    }


def _post(client: Client, url: str, body: dict[str, str]) -> tuple[Any, bool]:
    """The answer, and whether it changed access; what changed is taken back."""
    before, rows = transaction.savepoint(), access_rows()
    try:
        answer = client.post(f"{A}{url}", body)
        return answer, access_rows() != rows
    finally:
        transaction.savepoint_rollback(before)


def test_every_form_of_every_page_is_tried(world: World) -> None:
    offered = {f"{page}/add" for page, roles in PAGES.items() if roles["operator"][3] == "add"}
    offered |= {f"{page}/change" for page, roles in PAGES.items() if roles["operator"][1] == "edit"}

    assert offered == {name.partition(" ")[0] for name in _forms(world)}


def test_forms_that_change_access_ask_before_they_are_shown_and_refuse_when_sent(
    world: World, operator: CusUser
) -> None:
    fresh, late, changing = signed_in(operator), stale(operator), set()

    for name, (url, body) in _forms(world).items():
        answer, has_changed = _post(fresh, url, body)
        sent = "errors" if answer.status_code == 200 and answer.context.get("errors") else ""
        assert not sent, (name, answer.context["adminform"].form.errors)
        changing |= {name} if has_changed else set()
        refused, changed_late = _post(late, url, body)
        assert not changed_late, name
        if has_changed:
            assert refused.status_code == 200, name
            assert "Prove it in another tab" in refused.content.decode(), name
        else:
            assert refused.status_code == 302, name
        if name in FORMS and " " not in name:
            asked = late.get(f"{A}{url}")
            assert asked["Location"].startswith("/admin/prove/?next=%2Fadmin%2F"), name

    assert changing == FORMS


def test_buttons_that_change_access_ask_before_they_ask_anything_else(
    world: World, operator: CusUser
) -> None:
    fresh, late, changing = signed_in(operator), stale(operator), set()
    person: Any = world.foreign["cususer"]

    for name, url in _buttons(world):
        if name == "cususer/reactivate":
            CusUser.objects.filter(id=person.pk).update(is_active=False)
        elif name == "cususer/revoke_role":
            CusUser.objects.filter(id=person.pk).update(is_active=True, is_support=True)
        elif name == "cususer/reset_second_factor":
            _give_second_factor(person)
        elif name.endswith("/end_sessions"):
            for row in (world.own, world.foreign):
                signed_in(CusUser.objects.get(id=row["cususer"].pk))
        _, has_changed = _post(fresh, url, {})
        changing |= {name} if has_changed else set()
        pressed, changed_late = _post(late, url, {})
        assert not changed_late, name
        for answer in (pressed, late.get(f"{A}{url}")):
            leads = answer.headers.get("Location", "").startswith("/admin/prove/")
            assert leads == has_changed, name

    assert changing == BUTTONS_OF_ACCESS


def _buttons(world: World) -> Iterator[tuple[str, str]]:
    for page, buttons in BUTTONS.items():
        rows = world.foreign if page == "cususer" else world.own
        for button in buttons:
            yield f"{page}/{button}", f"{page}/{rows[page].pk}/{button}/"


def _give_second_factor(person: CusUser) -> None:
    TOTPDevice.objects.create(user=person, confirmed=True)


def test_every_other_page_is_known() -> None:
    models = tuple(
        f"{model._meta.app_label}_{model._meta.model_name}_" for model in admin.site._registry
    )
    names = {name for name in _names(get_resolver().url_patterns, "") if name}

    assert {name for name in names if not name.startswith(models)} == (OTHERS | _GUIDED | _HARMLESS)


def _names(patterns: "list[URLPattern | URLResolver]", before: str) -> Iterator[str | None]:
    for one in patterns:
        route = before + str(one.pattern)
        if isinstance(one, URLResolver):
            yield from _names(one.url_patterns, route)
        elif route.startswith("admin/"):
            yield one.name


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize(
    "url",
    [
        "password_change/",
        "second-factor/setup/",
        "second-factor/codes/",
        "sessions/end-others/",
        "sessions/00000000-0000-4000-8000-000000000000/end/",
    ],
)
def test_the_pages_of_ones_own_password_and_factor_ask_first(
    url: str, method: str, operator: CusUser
) -> None:
    client = stale(operator)
    signed_in(operator)
    rows = access_rows()

    asked = getattr(client, method)(f"/admin/{url}")

    assert asked.status_code == 302
    assert asked["Location"].startswith("/admin/prove/?next=%2Fadmin%2F")
    assert access_rows() == rows
