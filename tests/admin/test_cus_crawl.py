"""A crawl of the console as each role: where its links lead, and how many steps each page takes."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from html import unescape
from urllib.parse import urljoin, urlsplit

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import Resolver404, resolve
from pytest_django import DjangoDbBlocker

from aos_project.cus_console.pages import PAGES
from integrations.cus_accounts.permissions import role_of
from tests.admin.cus_console_world import PAGES as ROWS
from tests.conftest import be_patient, empty_tables, forget_everything
from tests.cus_factories import make_tenant
from tests.cus_proofs import lasting_proofs
from tests.cus_small_world import ROLES, World, make_world

pytestmark = pytest.mark.django_db
_LINK = re.compile(r'<a\s[^>]*?href="([^"#]*)[^"]*"')
_STEPS = 3
# Links of one kind (a view, with or without a query) that are followed.
_OF_A_KIND = 3
# These end the session, or are files that a browser keeps.
_NOT_FOLLOWED = ("admin:logout", "admin:jsi18n")


@dataclass
class Crawl:
    """What a crawl found: the steps to each view, and the links that lead to a refusal."""

    client: Client
    steps: dict[str, int] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)
    kinds: Counter[tuple[str, bool]] = field(default_factory=Counter)
    found_on: dict[str, str] = field(default_factory=dict)

    def run(self) -> "Crawl":
        """Follow the links of the first page, of those pages, and so on."""
        pages = ["/admin/"]
        seen = set(pages)
        for step in range(_STEPS + 1):
            found: list[str] = []
            for page in pages:
                found += self._visit(page, step)
            pages = [address for address in dict.fromkeys(found) if address not in seen]
            seen |= set(pages)
        return self

    def _visit(self, address: str, step: int) -> list[str]:
        answer = self.client.get(address, follow=True)
        if answer.status_code != 200:
            found_on = self.found_on.get(address)
            self.refusals.append(f"{address} answered {answer.status_code}: on {found_on}")
            return []
        for path in (
            urlsplit(address).path,
            *(urlsplit(url).path for url, _ in answer.redirect_chain),
        ):
            self.steps.setdefault(view_of(path), step)
        if not answer.headers["Content-Type"].startswith("text/html"):
            return []
        here = answer.redirect_chain[-1][0] if answer.redirect_chain else address
        links = (urljoin(here, unescape(link)) for link in _LINK.findall(answer.content.decode()))
        followed = [link for link in links if self._is_followed(link)]
        for link in followed:
            self.found_on.setdefault(link, address)
        return followed

    def _is_followed(self, link: str) -> bool:
        parts = urlsplit(link)
        if parts.netloc or not parts.path.startswith("/"):
            return False
        view = view_of(parts.path)
        if view in _NOT_FOLLOWED:
            return False
        kind = (view, bool(parts.query))
        self.kinds[kind] += 1
        return self.kinds[kind] <= _OF_A_KIND


@cache
def view_of(path: str) -> str:
    """The name of a page's route."""
    try:
        return resolve(path).view_name
    except Resolver404:
        return f"nothing at {path}"


def expected(world: World, role: str) -> set[str]:
    """The pages that the role may open, and that the world has something for."""
    lists = {
        f"admin:integrations_{page}" for page, roles in ROWS.items() if roles[role][0] == "list"
    }
    names = {f"{name}_changelist" for name in lists}
    adds = {
        f"admin:integrations_{page}_add" for page, roles in ROWS.items() if roles[role][3] == "add"
    }
    evidence = {
        f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"
        for model in admin.site._registry
        if model._meta.app_label in ("telemetry", "enforcement")
    }
    own = {page.name for page in PAGES if role in page.viewers}
    return names | adds | evidence | own - _ELSEWHERE


# Polled by a script, or offered only in a state: a step of guided creation after the one before, a
# month's close when the month is over. The browser's tests walk these.
_ELSEWHERE = {
    "cus-start-call",
    "cus-start-credential",
    "cus-start-limits",
    "cus-start-key",
    "cus-statement-close",
}


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[World]:
    """The world that each role crawls: what a crawl leaves in it is taken back."""
    forget_everything()
    with django_db_blocker.unblock():
        try:
            with pytest.MonkeyPatch.context() as patch:
                be_patient(patch)
                made = make_world(make_tenant("Umbrella"))
            with lasting_proofs():
                yield made
        finally:
            empty_tables()


@pytest.mark.parametrize("role", ROLES)
def test_every_page_is_reached_in_three_steps_and_no_link_leads_to_a_refusal(
    role: str, world: World
) -> None:
    client = Client()
    client.cookies["sessionid"] = world.session_of(role)
    assert role_of(world.people[role]) == role

    crawl = Crawl(client).run()

    assert not crawl.refusals, "\n".join(crawl.refusals)
    assert [name for name in crawl.steps if name.startswith("nothing at")] == []
    assert expected(world, role) - crawl.steps.keys() == set()
    assert max(crawl.steps[name] for name in expected(world, role)) <= _STEPS
