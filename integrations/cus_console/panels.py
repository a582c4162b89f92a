"""Panels: the parts of pages that compose the planes. Each app's `admin.py` registers its own.

The pages themselves know only this registry, so that authority's pages can show facts and decisions
without importing them.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from integrations.cus_accounts.permissions import role_of

# What a cell of a table shows: a text, or HTML that is safe.
Cell: TypeAlias = "str | int | SafeString"


# In a cell without a value; a phone leaves the cell out.
NOTHING = mark_safe('<span class="cus-none">-</span>')
# The first tab of a page with tabs.
OVERVIEW = "overview"


class Page(StrEnum):
    """The pages with panels. A panel of an object's page gets the object as subject."""

    HOME = "home"
    TENANT = "tenant"
    INTEGRATION = "integration"
    # A usage record.
    CALL = "call"
    # Cost and usage of a scope (`integrations.cus_integrations.scopes.UsageScope`).
    COST = "cost"
    # A decision of enforcement.
    DECISION = "decision"


@dataclass(frozen=True)
class Panel:
    """A part of a page. `key` is the part's anchor in the page's address.

    `view` gets the request and the page's subject (None on the first page). It returns the panel's
    HTML, or None where the panel has nothing to show. `viewers` are the roles that see the panel.
    """

    page: Page
    key: str
    title: str
    viewers: Sequence[str]
    view: Callable[[HttpRequest, Any], SafeString | None]
    # Whether the panel stands above those that were registered before it.
    is_first: bool = False
    # The tab that it is in, where the page has tabs.
    tab: str = OVERVIEW


@dataclass(frozen=True)
class ShownPanel:
    """A panel as a page shows it."""

    key: str
    title: str
    html: SafeString


_panels: dict[tuple[Page, str], Panel] = {}


def register(panel: Panel) -> None:
    """Add a panel to its page, after those that were added before.

    Raises ValueError if the page has a panel with this key already.
    """
    if (panel.page, panel.key) in _panels:
        message = f"the page {panel.page.value} has a panel {panel.key} already"
        raise ValueError(message)
    _panels[panel.page, panel.key] = panel


def shown(
    page: Page, request: HttpRequest, subject: Any = None, tab: str = OVERVIEW
) -> list[ShownPanel]:
    """The panels of a page's tab that the person may see and that have something to show."""
    found = [panel for panel in _open_to(page, request) if panel.tab == tab]
    found.sort(key=lambda panel: not panel.is_first)
    rendered = [(panel, panel.view(request, subject)) for panel in found]
    return [ShownPanel(panel.key, panel.title, html) for panel, html in rendered if html]


def tabs_with_panels(page: Page, request: HttpRequest) -> set[str]:
    """The tabs of a page that have panels for the person."""
    return {panel.tab for panel in _open_to(page, request)}


def _open_to(page: Page, request: HttpRequest) -> list[Panel]:
    role = role_of(request.user)
    return [panel for panel in _panels.values() if panel.page is page and role in panel.viewers]


def table(
    headers: Sequence[str], rows: Iterable[Sequence[Cell]], *, empty: str, note: str = ""
) -> SafeString:
    """A panel's table; `empty` says what the lack of rows means and what to do next."""
    context = {"table": {"headers": headers, "rows": list(rows)}, "empty": empty, "note": note}
    return render_to_string("admin/cus_panel_table.html", context)


def with_link(panel: SafeString, address: str, text: str) -> SafeString:
    """The panel, and below it a link to all that it shows a part of."""
    return format_html(
        '{}<p class="mt-3"><a href="{}" class="underline">{}</a></p>', panel, address, text
    )


def name_values(pairs: Iterable[tuple[str, Cell]]) -> SafeString:
    """Names and what they stand for, a line each."""
    return render_to_string("admin/cus_pairs.html", {"pairs": list(pairs)})
