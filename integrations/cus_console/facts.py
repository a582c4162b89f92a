"""Pages that show all that is known of one row, in words: without empty fields, with links."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from django.contrib.admin.utils import label_for_field, lookup_field
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.utils.formats import localize
from django.utils.html import format_html
from django.utils.safestring import SafeString

from integrations.cus_console import panels
from integrations.cus_console.amounts import dollars, exact_dollars
from integrations.cus_console.panels import Cell, Page

_MICROCENTS_PER_CENT = 1_000_000


@dataclass(frozen=True)
class Figure:
    """A number that matters, with what it means and the page behind it."""

    title: str
    value: Cell
    note: Cell = ""
    link: str = ""


@dataclass(frozen=True)
class Fact:
    """A named value."""

    label: str
    value: Cell


@dataclass(frozen=True)
class Section:
    """Facts that belong together."""

    title: str
    facts: list[Fact]
    about: str = ""


@dataclass(frozen=True)
class Headline:
    """The first thing on a page: a sentence, what to do, and whether it is good or bad news."""

    text: str
    action: str = ""
    # `good`, `warning`, `bad` or empty.
    tone: str = ""
    figures: list[Figure] = field(default_factory=list)


class CusFactsAdmin:
    """Mixin for a page of one row: its fieldsets as facts, then the panels of `page`."""

    change_form_template = "admin/cus_facts.html"
    # The page's name in the registry of panels, if it has panels.
    panels_of: ClassVar[Page | None] = None
    # Labels in words, by field; others are the model's.
    labels: ClassVar[Mapping[str, str]] = {}

    def headline(self, request: HttpRequest, row: Any) -> Headline | None:
        """What the page says first."""
        return None

    def link_of(self, request: HttpRequest, row: Any, name: str) -> str:
        """The address of the page behind a field's value; empty if there is none."""
        return ""

    def text_of(self, request: HttpRequest, row: Any, name: str) -> Cell:
        """A field's value in words; empty if it has none."""
        _, _, value = lookup_field(name, row, self)  # type: ignore[arg-type]  # a page
        return in_words(name, value)

    def render_change_form(
        self: Any, request: HttpRequest, context: Any, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        row = kwargs.get("obj")
        if row is not None:
            context["headline"] = self.headline(request, row)
            context["sections"] = list(self._sections(request, row))
            if self.panels_of:
                context["panels"] = panels.shown(self.panels_of, request, row)
        page: HttpResponse = super().render_change_form(  # type: ignore[misc]  # the page's own
            request, context, *args, **kwargs
        )
        return page

    def _sections(self: Any, request: HttpRequest, row: Model) -> Iterator[Section]:
        for title, options in self.get_fieldsets(request, row):
            facts = [self._fact(request, row, name) for name in options["fields"]]
            shown = [fact for fact in facts if fact.value != ""]
            if shown:
                yield Section(title or "", shown, options.get("description", ""))

    def _fact(self: Any, request: HttpRequest, row: Model, name: str) -> Fact:
        label = self.labels.get(name) or str(label_for_field(name, type(row), self))
        value = self.text_of(request, row, name)
        link = self.link_of(request, row, name) if value != "" else ""
        if link:
            value = format_html('<a href="{}" class="underline">{}</a>', link, value)
        return Fact(label[:1].upper() + label[1:], value)


def in_words(name: str, value: Any) -> Cell:
    """A value as people write it, by the unit in the name of its field; empty for no value."""
    if isinstance(value, SafeString):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return _number(name, value)
    if isinstance(value, datetime):
        return str(localize(value))
    if isinstance(value, tuple):
        # A label of the theme's is a pair: colour and text.
        return str(value[-1])
    return _structure(value) if value else ""


def _structure(value: Any) -> Cell:
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return ", ".join(value)
    return as_json(value) if isinstance(value, list | dict) else str(value)


def as_json(value: Any) -> SafeString:
    """A structure as indented JSON."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return format_html('<pre class="cus-json">{}</pre>', text)


def _number(name: str, value: int) -> str:
    if name.endswith("microcents"):
        return exact_dollars(value)
    if name.endswith("cents"):
        return dollars(value * _MICROCENTS_PER_CENT)
    return f"{value:,} ms" if name.endswith("_ms") else f"{value:,}"
