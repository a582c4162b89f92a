"""The layout of the console's pages that belong to no model."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.html import format_html
from django.utils.safestring import SafeString

from integrations.cus_console.panels import ShownPanel


@dataclass(frozen=True)
class Link:
    """A link with its text; `is_here` marks the tab that is shown, `variant` a button's look."""

    title: str
    link: str
    is_here: bool = False
    variant: str = "default"

    @property
    def html(self) -> SafeString:
        """The link in a cell or a sentence."""
        return format_html('<a href="{}" class="underline">{}</a>', self.link, self.title)


@dataclass(frozen=True)
class Layout:
    """What a page shows, from its top: links to pages above and beside, a sentence, tabs, buttons,
    panels. A page with a form passes `form`, `form_title` and `form_button` to `shown`.
    """

    title: str
    lead: str | SafeString = ""
    trail: Sequence[Link] = ()
    tabs: Sequence[Link] = ()
    buttons: Sequence[Link] = ()
    panels: Sequence[ShownPanel] = field(default_factory=list)


def shown(
    request: HttpRequest,
    layout: Layout,
    *,
    template: str = "admin/cus_own_page.html",
    **context: Any,
) -> HttpResponse:
    """The page. `template` extends the usual one."""
    tabs = [{"title": tab.title, "link": tab.link, "active": tab.is_here} for tab in layout.tabs]
    whole = {
        **admin.site.each_context(request),
        "title": layout.title,
        "layout": layout,
        "tabs_list": tabs,
        "panels": layout.panels,
        **context,
    }
    return render(request, template, whole)
