"""What the search of the console finds. Each app's `admin.py` registers its own finders."""

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from integrations.cus_accounts.permissions import role_of

# The parameter that narrows the search of calls and decisions to one integration.
WITHIN: Final = "integration"
# More are not shown of one kind: who searches for a common word should write more of it.
MOST_OF_A_KIND = 10


@dataclass(frozen=True)
class Hit:
    """One thing that was found: its name, what else is known of it, and its page."""

    title: str
    about: str
    link: str
    # Whether the text that was searched for is the thing's whole id.
    is_exact: bool = False


Find: TypeAlias = Callable[[HttpRequest, str], Iterable[Hit]]


@dataclass(frozen=True)
class Finder:
    """A kind of thing that can be searched for.

    `find` gets a text without spaces around it, and returns what the person may see, best first.
    `where` says by what `find` finds them; it follows the kind's name.
    """

    kind: str
    viewers: Sequence[str]
    find: Find
    where: str = "by a part of their name, or by their id"

    @property
    def searched(self) -> str:
        """What was searched, in words."""
        return f"{self.kind}, {self.where}"


@dataclass(frozen=True)
class Found:
    """The hits of one kind; `more` tells that there were others."""

    kind: str
    hits: list[Hit]
    more: bool


_finders: dict[str, Finder] = {}


def register(finder: Finder) -> None:
    """Add a kind. Raises ValueError if it is there already."""
    if finder.kind in _finders:
        message = f"the search has the kind {finder.kind} already"
        raise ValueError(message)
    _finders[finder.kind] = finder


def by_page(model: type[Model]) -> Find:
    """Finds rows by their id, or as the search of the model's own page does."""

    def find(request: HttpRequest, text: str) -> Iterator[Hit]:
        page: Any = admin.site.get_model_admin(model)
        rows, name = page.get_queryset(request), as_id(text)
        if name:
            rows = rows.filter(pk=name)
        else:
            rows, _ = page.get_search_results(request, rows, text)
        for row in rows[: MOST_OF_A_KIND + 1]:
            about = str(getattr(row, "tenant", None) or "")
            yield Hit(str(row), about, page.address_of(row), is_exact=name is not None)

    return find


def searched(request: HttpRequest) -> list[str]:
    """The kinds of things that the person can search for, and by what, in words."""
    return [finder.searched for finder in _open_to(request)]


def found(request: HttpRequest, text: str) -> list[Found]:
    """What the person may see of the things that `text` names."""
    # No stored text has a NUL, and PostgreSQL refuses one.
    text = text.replace("\0", "").strip()
    if not text:
        return []
    results = []
    for finder in _open_to(request):
        hits = list(finder.find(request, text))
        if hits:
            more = len(hits) > MOST_OF_A_KIND
            results.append(Found(finder.kind, hits[:MOST_OF_A_KIND], more))
    return results


def meant(found: Sequence[Found]) -> Hit | None:
    """The one thing that the text names by its whole id; None if that is not certain."""
    exact = [hit for hit in found[0].hits if hit.is_exact] if found else []
    return exact[0] if len(exact) == 1 else None


def integration_in(request: HttpRequest) -> uuid.UUID | None:
    """The integration to which the search is narrowed."""
    return as_id(request.GET.get(WITHIN, ""))


def as_id(text: str) -> uuid.UUID | None:
    """The id that a text is, with or without dashes; None if it is none."""
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def _open_to(request: HttpRequest) -> Iterator[Finder]:
    role = role_of(request.user)
    return (finder for finder in _finders.values() if role in finder.viewers)
