"""Every console page, for every role: the rows, the forms, the filters, the buttons (C8, C9)."""

import csv
import html
import io
import re
import uuid
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import OperationalError, transaction
from django.test import Client, RequestFactory
from pytest_django import DjangoDbBlocker

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_audit.models import CusAuditEntry
from integrations.cus_console.pages import tenants_of
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_evidence.models import CusLLMUsage
from tests.admin.cus_console_world import BUTTONS, PAGES, ROLES, World, make_world
from tests.cus_factories import SdkClient, make_integration, make_user, record, signed_in
from tests.cus_proofs import lasting_proofs

pytestmark = pytest.mark.django_db

A = "/admin/integrations/"
CASES = [(page, role) for page in PAGES for role in ROLES]


@pytest.fixture(scope="module")
def made_once(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[World]:
    """The world that all tests of this file begin with: each one's changes are taken back.

    None of them commits, so the world lives in a transaction around theirs.
    """
    with django_db_blocker.unblock(), lasting_proofs(), transaction.atomic():
        world = make_world()
        for role in ROLES:
            person = make_user(role, world.tenant if role in ("admin", "member") else None)
            world.sessions[role] = signed_in(person).cookies["sessionid"].value
        yield world
        transaction.set_rollback(True)


@pytest.fixture
def world(db: None, made_once: World) -> World:
    return deepcopy(made_once)


def _browser(role: str, world: World) -> Client:
    """A browser in which the world's person of that role is signed in."""
    client = Client()
    client.cookies["sessionid"] = world.sessions[role]
    return client


def _seen(response: Any) -> str:
    # The theme's coloured labels are for lists; a row's page would print what they are made of.
    assert "(&#x27;" not in response.content.decode()
    if response.status_code == 403:
        return "-"
    if response.status_code == 302:
        return "gone"
    assert response.status_code == 200, response.status_code
    return "edit" if 'name="_save"' in response.content.decode() else "read"


def test_the_table_names_every_page_on_authority() -> None:
    registered = {
        model._meta.model_name
        for model in admin.site._registry
        if model._meta.app_label == "integrations"
    }

    assert registered == set(PAGES)


def test_no_page_of_a_package_is_open_to_anybody() -> None:
    labels = {model._meta.app_label for model in admin.site._registry}

    assert labels <= {"integrations", "telemetry", "enforcement"}


@pytest.mark.parametrize(("page", "role"), CASES)
def test_each_role_gets_what_the_table_says(page: str, role: str, world: World) -> None:
    client = _browser(role, world)
    listed, own, foreign, add = PAGES[page][role]

    assert client.get(f"{A}{page}/").status_code == (200 if listed == "list" else 403)
    assert _seen(client.get(f"{A}{page}/{world.own[page].pk}/change/")) == own
    assert _seen(client.get(f"{A}{page}/{world.foreign[page].pk}/change/")) == foreign
    assert client.get(f"{A}{page}/add/").status_code == (200 if add == "add" else 403)


@pytest.mark.parametrize("page", PAGES)
def test_a_tenants_own_finance_gets_what_finance_does_but_nothing_foreign(
    page: str, world: World
) -> None:
    client = signed_in(make_user("finance", world.tenant))
    listed, own, foreign, add = PAGES[page]["finance"]

    answer = client.get(f"{A}{page}/")
    assert answer.status_code == (200 if listed == "list" else 403)
    assert "foreign" not in answer.content.decode().lower()
    assert _seen(client.get(f"{A}{page}/{world.own[page].pk}/change/")) == own
    gone = "gone" if foreign == "read" else foreign
    assert _seen(client.get(f"{A}{page}/{world.foreign[page].pk}/change/")) == gone
    assert client.get(f"{A}{page}/add/").status_code == (200 if add == "add" else 403)


@pytest.mark.parametrize(("page", "role"), CASES)
def test_what_is_not_offered_is_refused_when_posted(page: str, role: str, world: World) -> None:
    client = _browser(role, world)
    _, own, foreign, add = PAGES[page][role]
    before = _everything(world)

    for row, may in ((world.own[page], own), (world.foreign[page], foreign)):
        url = f"{A}{page}/{row.pk}/"
        if may != "edit":
            answer = client.post(f"{url}change/", {"name": "taken over", "role": "admin"})
            assert answer.status_code in (302, 403)
        assert client.post(f"{url}delete/", {"post": "yes"}).status_code in (302, 403)
    if add != "add":
        assert client.post(f"{A}{page}/add/", {"name": "new"}).status_code == 403
    for action in ("delete_selected", "export_admin_action", "deactivate", "remove"):
        client.post(
            f"{A}{page}/",
            {"action": action, "_selected_action": [str(world.own[page].pk)], "post": "yes"},
        )

    assert _everything(world) == before


def _everything(world: World) -> list[Any]:
    """All rows of the world, as they are stored."""
    pairs = ((own, world.foreign[page]) for page, own in world.own.items())
    return [
        list(type(own)._base_manager.filter(pk__in=(own.pk, foreign.pk)).order_by("pk").values())
        for own, foreign in pairs
    ]


PRESSES = [
    (page, button, role)
    for page, buttons in BUTTONS.items()
    for button in buttons
    for role in ROLES
    if role not in buttons[button]
]


def test_the_table_names_every_button() -> None:
    for model, page in admin.site._registry.items():
        offered = {*getattr(page, "actions_detail", ()), *getattr(page, "actions_row", ())}
        known = set(BUTTONS.get(str(model._meta.model_name), {}))
        assert offered - {"history"} == known, model


@pytest.mark.parametrize(("page", "button", "role"), PRESSES)
def test_a_button_pressed_by_hand_does_nothing_for_who_may_not(
    page: str, button: str, role: str, world: World
) -> None:
    client = _browser(role, world)
    before = _everything(world)

    for row in (world.own[page], world.foreign[page]):
        for method in (client.get, client.post):
            assert method(f"{A}{page}/{row.pk}/{button}/").status_code in (302, 403)

    assert _everything(world) == before


@pytest.mark.parametrize(
    ("page", "button"), [(page, button) for page, buttons in BUTTONS.items() for button in buttons]
)
def test_a_tenant_admins_buttons_end_at_the_tenant(page: str, button: str, world: World) -> None:
    client = _browser("admin", world)
    before = _everything(world)

    assert client.post(f"{A}{page}/{world.foreign[page].pk}/{button}/").status_code in (302, 403)
    for nonsense in (uuid.uuid4(), "nonsense", "%00"):
        assert client.post(f"{A}{page}/{nonsense}/{button}/").status_code in (302, 403)

    assert _everything(world) == before


@pytest.mark.parametrize(
    ("page", "button"),
    [
        (page, button)
        for page, buttons in BUTTONS.items()
        for button, roles in buttons.items()
        if "operator" in roles
    ],
)
def test_a_link_asks_and_changes_nothing(page: str, button: str, world: World) -> None:
    client = _browser("operator", world)
    before = _everything(world)

    answer = client.get(f"{A}{page}/{world.own[page].pk}/{button}/")

    assert answer.status_code == 200
    assert '<form method="post"' in answer.content.decode()
    assert _everything(world) == before
    assert Client(enforce_csrf_checks=True).post(
        f"{A}{page}/{world.own[page].pk}/{button}/"
    ).status_code in (302, 403)


HIDDEN = [
    ("cusintegration", "credential_ref__startswith=db"),
    ("cusintegration", "stored_credential__hint=cdef"),
    ("cusintegration", "stored_credential__key_id=k1"),
    ("cusintegration", "created_by__password__startswith=a"),
    ("cusintegration", "tenant__memberships__user__email__startswith=a"),
    ("cusintegration", "config__base_url=x"),
    ("cusmembership", "user__password__startswith=a"),
    ("cusmembership", "tenant__name=x"),
    ("cusmembership", "user__is_superuser=1"),
    ("cususer", "password__startswith=a"),
    ("cusapitoken", "digest__startswith=a"),
    ("cusapitoken", "token_key__startswith=aost"),
    ("cusapitoken", "user__password__startswith=a"),
    ("cussdkkey", "secret_hash=a"),
    ("cussdkkey", "integration__credential_ref__startswith=db"),
    ("cussdkkey", "created_by__password__startswith=a"),
    ("cushealthtransition", "message__startswith=o"),
    ("cushealthtransition", "integration__credential_ref__startswith=db"),
    ("cushealthtransition", "checked_at__startswith=2"),
    ("cusauditentry", "changes__icontains=x"),
    ("cusauditentry", "actor__password__startswith=a"),
    ("cuspriceoverride", "created_by__password__startswith=a"),
]


@pytest.mark.parametrize(("page", "query"), HIDDEN)
@pytest.mark.parametrize("way", ["", "export/"])
def test_no_hidden_column_is_asked_for_by_url(
    page: str, query: str, way: str, world: World
) -> None:
    answer = _browser("operator", world).get(f"{A}{page}/{way}?{query}")

    assert answer.status_code in (302, 400)


def test_a_tenants_people_cannot_filter_by_tenant(world: World) -> None:
    query = f"tenant__id__exact={world.foreign['custenant'].pk}"

    refused = _browser("member", world).get(f"{A}cusintegration/?{query}")
    shown = _browser("support", world).get(f"{A}cusintegration/?{query}")

    assert refused.status_code in (302, 400)
    assert "foreign integration" in shown.content.decode()
    assert "own integration" not in shown.content.decode()


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("app", "model", "field"),
    [
        ("integrations", "cusintegration", "tenant"),
        ("integrations", "cusintegration", "created_by"),
        ("integrations", "cusmembership", "user"),
        ("integrations", "cusmembership", "tenant"),
        ("integrations", "cusapitoken", "user"),
        ("integrations", "cussdkkey", "integration"),
        ("integrations", "cushealthtransition", "integration"),
        ("integrations", "cusauditentry", "actor"),
        ("integrations", "cuscredential", "integration"),
        ("admin", "logentry", "user"),
    ],
)
def test_autocomplete_says_nothing_that_a_page_would_not(
    role: str, app: str, model: str, field: str, world: World
) -> None:
    query = f"app_label={app}&model_name={model}&field_name={field}&term="

    answer = _browser(role, world).get(f"/admin/autocomplete/?{query}")

    if role == "operator" or field == "integration":
        # A picker of integrations answers as their page does.
        assert (
            role in ("operator", "support", "finance") or "foreign" not in answer.content.decode()
        )
        return
    assert answer.status_code in (403, 404)


@pytest.mark.parametrize("role", ["admin", "member"])
def test_the_consoles_search_finds_no_foreign_row(role: str, world: World) -> None:
    for term in ("foreign", "Foreign", "a"):
        page = _browser(role, world).get(f"/admin/search/?s={term}").content.decode()
        assert "Foreign" not in page
        assert "foreign" not in page.replace(f"={term}", "")


def test_a_tenant_admin_makes_things_for_the_own_tenant_only(world: World) -> None:
    request = RequestFactory().get("/admin/")
    request.user = make_user("admin", world.tenant)

    assert list(tenants_of(request)) == [world.tenant]


def test_a_picker_finds_no_rows_of_a_page_that_its_person_may_not_see(world: World) -> None:
    request = RequestFactory().get("/admin/")
    request.user = make_user("admin", world.tenant)
    closed = admin.site.get_model_admin(CusUser)

    assert not closed.has_view_permission(request)
    with pytest.raises(PermissionDenied):
        closed.get_search_results(request, CusUser.objects.all(), "a")


def test_a_picker_offers_a_tenant_admin_nothing_foreign(world: World) -> None:
    client = _browser("admin", world)

    for page in ("cusintegration", "cuspriceoverride", "cusmembership", "cussdkkey"):
        form = client.get(f"{A}{page}/add/").content.decode()
        assert str(world.foreign["custenant"].pk) not in form
        assert "foreign" not in form.lower()


@pytest.mark.parametrize(
    ("page", "role"),
    [
        case
        for case in CASES
        if case[1] in ("admin", "member") and PAGES[case[0]][case[1]][0] != "-"
    ],
)
def test_a_list_and_its_export_hold_the_same_rows_and_nothing_foreign(
    page: str, role: str, world: World
) -> None:
    client = _browser(role, world)

    listed = client.get(f"{A}{page}/").content.decode()
    assert "foreign" not in listed.lower()
    if page == "cusapitoken":
        return
    assert "own" in listed
    exported = client.get(f"{A}{page}/export/")
    assert exported.status_code == 200
    text = exported.getvalue().decode()
    assert "foreign" not in text.lower()
    assert len(list(csv.reader(io.StringIO(text)))) > 1


@pytest.mark.parametrize("page", [page for page in PAGES if page != "cusapitoken"])
@pytest.mark.parametrize("role", ROLES)
def test_who_may_not_see_a_page_may_not_export_it(page: str, role: str, world: World) -> None:
    expected = 200 if PAGES[page][role][0] == "list" else 403

    for method in ("get", "post"):
        answer = getattr(_browser(role, world), method)(f"{A}{page}/export/")
        assert answer.status_code == expected


def test_an_export_has_the_columns_of_the_page_and_no_secret(world: World) -> None:
    text = _browser("operator", world).get(f"{A}cusintegration/export/").getvalue().decode()

    heads, *rows = csv.reader(io.StringIO(text))
    assert heads == [
        "Name",
        "Tenant",
        "Provider",
        "Status",
        "Health",
        "Monthly budget",
        "Default model",
        "Created at",
    ]
    assert ["foreign integration", "Foreign tenant", "OpenAI", "Enabled"] in [
        row[:4] for row in rows
    ]
    assert "db://" not in text
    assert "cdef" not in text


def test_an_export_obeys_the_pages_filters_and_search(world: World) -> None:
    client = _browser("operator", world)

    found = client.get(f"{A}cusintegration/export/?q=foreign").getvalue().decode()
    none = client.get(f"{A}cusintegration/export/?status__exact=error").getvalue().decode()

    assert "foreign integration" in found
    assert "own integration" not in found
    assert len(none.splitlines()) == 1


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_no_cell_of_an_export_is_a_formula(start: str, world: World) -> None:
    make_integration(world.tenant, name=f'{start}HYPERLINK("http://evil.example")')

    text = _browser("support", world).get(f"{A}cusintegration/export/").getvalue().decode()

    cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
    assert f'\'{start}HYPERLINK("http://evil.example")' in cells
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


@pytest.mark.parametrize("page", list(PAGES))
@pytest.mark.parametrize("role", ROLES)
def test_a_rows_history_is_open_to_who_may_see_the_row(page: str, role: str, world: World) -> None:
    client = _browser(role, world)
    _, own, foreign, _ = PAGES[page][role]

    for row, seen in ((world.own[page], own), (world.foreign[page], foreign)):
        answer = client.get(f"{A}{page}/{row.pk}/history/")
        # Support has no trail to be led to.
        if seen in ("-", "gone") or role in ("support", "finance"):
            assert answer.status_code in (302, 403)
            assert "cusauditentry" not in answer.headers.get("Location", "")
        else:
            assert f"&object_id__exact={row.pk}" in answer["Location"]
            assert "cusauditentry/?object_type=" in answer["Location"]


def test_the_audit_trail_answers_for_one_object(world: World) -> None:
    client = _browser("member", world)
    own, foreign = (rows["cusintegration"].pk for rows in (world.own, world.foreign))

    shown = client.get(f"{A}cusauditentry/?object_id__exact={own}").content.decode()
    nothing = client.get(f"{A}cusauditentry/?object_id__exact={foreign}").content.decode()

    assert "integration.created" in shown
    assert "member.added" not in shown
    assert "integration.created" not in nothing


def test_nothing_is_kept_in_djangos_own_history(world: World) -> None:
    from django.contrib.admin.models import LogEntry

    client = _browser("operator", world)
    client.post(f"{A}custenant/add/", {"name": "Logged tenant"})

    assert CusTenant.objects.filter(name="Logged tenant").exists()
    assert not LogEntry.objects.exists()
    assert "Logged tenant" not in _browser("member", world).get("/admin/").content.decode()


@pytest.mark.parametrize(
    ("role", "offered", "withheld"),
    [
        ("operator", ["custenant", "cususer", "cusmembership", "cusauditentry", "cussdkkey"], []),
        (
            "support",
            ["cusintegration", "cushealthtransition", "cusllmusage"],
            ["cususer", "cusmembership", "custenant", "cussdkkey"],
        ),
        ("admin", ["cusintegration", "cussdkkey", "cusapitoken"], ["cususer", "custenant"]),
        ("member", ["cusintegration", "cushealthtransition"], ["cususer", "cussdkkey"]),
    ],
)
def test_the_sidebar_names_what_one_may_open_and_only_that(
    role: str, offered: list[str], withheld: list[str], world: World
) -> None:
    client = _browser(role, world)

    page = client.get("/admin/").content.decode()

    for name in offered:
        assert f"/{name}/" in page
    for name in withheld:
        assert f"/{name}/" not in page


@pytest.mark.parametrize("role", ["support", "finance"])
def test_support_and_finance_see_nothing_of_credentials(role: str, world: World) -> None:
    integration = world.own["cusintegration"]
    url = f"{A}cusintegration/{integration.pk}/change/"

    assert "…cdef" not in _browser(role, world).get(url).content.decode()
    assert "…cdef" in _browser("member", world).get(url).content.decode()


def test_usage_has_no_form_and_no_history(world: World) -> None:
    SdkClient.of(CusIntegration.objects.get(name="own integration")).report(record())
    client = _browser("operator", world)
    usage = CusLLMUsage.objects.get()

    assert client.get(f"/admin/telemetry/cusllmusage/{usage.pk}/history/").status_code == 302


def _read(response: Any) -> str:
    """A page as a person reads it, with one space where there are many."""
    return " ".join(response.content.decode().split())


def _trail(tenant: CusTenant, count: int) -> None:
    CusAuditEntry.objects.bulk_create(
        CusAuditEntry(
            tenant=tenant, actor_label="somebody", action=f"made.{number}", object_type="thing"
        )
        for number in range(count)
    )


def test_an_export_has_every_row_of_a_list_of_many_pages(world: World) -> None:
    _trail(world.tenant, 1_203)

    exported = _browser("member", world).get(f"{A}cusauditentry/export/")
    lines = list(csv.reader(io.StringIO(exported.getvalue().decode())))

    made = [line for line in lines[1:] if line[1].startswith("made.")]
    assert len(made) == 1_203
    assert len(lines) - 1 == CusAuditEntry.objects.filter(tenant=world.tenant).count()


def test_an_export_that_the_database_ends_says_so_in_its_last_line(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def torn(rows: Any) -> Iterator[Any]:
        yield rows[0]
        raise OperationalError

    monkeypatch.setattr("integrations.cus_console.export._asked", torn)

    exported = _browser("member", world).get(f"{A}cusauditentry/export/")

    heads, row, last = csv.reader(io.StringIO(exported.getvalue().decode()))
    assert len(row) == len(heads)
    assert last == [
        "CUT after 1 rows: the database gave up. Narrow the list by a filter and export again."
    ]


def test_a_list_of_facts_shows_each_row_once_while_new_rows_arrive(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    integration = CusIntegration.objects.get(id=world.own["cusintegration"].pk)
    sdk = SdkClient.of(integration)
    before = CusLLMUsage.objects.filter(tenant_id=world.tenant.id).count()
    sdk.report_calls(7)
    monkeypatch.setattr(admin.site.get_model_admin(CusLLMUsage), "list_per_page", 3)
    client, address = _browser("member", world), "/admin/telemetry/cusllmusage/"
    seen: list[str] = []
    for _ in range(10):
        page = client.get(address).content.decode()
        seen += re.findall(r"/cusllmusage/([0-9a-f-]{36})/change/", page)
        older = re.search(r'href="(\?[^"]*before=[^"]*)" rel="next"', page)
        if older is None:
            break
        address = "/admin/telemetry/cusllmusage/" + html.unescape(older[1])
        sdk.report_calls(1)
    ids = list(dict.fromkeys(seen))
    assert len(ids) == before + 7
    assert "There is nothing older." in page
    assert "Newest" in page


@pytest.mark.parametrize(
    "text",
    [
        *("x", "2026-01-01~x", "2026-01-01T00:00:00~" + "0" * 32, "~"),
        *(f"{year}-01-01T00:00:00+00:00~{'0' * 32}" for year in ("0001", "1999", "9999")),
    ],
)
def test_an_address_that_names_no_place_of_a_list_is_answered_with_its_top(
    text: str, world: World
) -> None:
    client = _browser("member", world)
    page = _read(client.get("/admin/telemetry/cusllmusage/", {"before": text}))
    assert "The address names no place in this list" in page
