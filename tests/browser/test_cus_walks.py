"""Every page of the sidebar, and a row of each list, as each role, in each look."""

import pytest

from tests.browser.conftest import OpenAs
from tests.browser.cus_pages import LOOKS, Look, Watched
from tests.cus_small_world import ROLES

# Where the first row of a list leads.
_ROW = "#result_list tbody th a, #result_list tbody td a[href*='/change/']"


def _links(page: Watched, selector: str) -> dict[str, str]:
    """The addresses of the links, by their texts."""
    found = page.page.eval_on_selector_all(
        selector, "all => all.map(a => [a.innerText.trim(), a.getAttribute('href')])"
    )
    return {text.split("\n")[-1].strip(): address for text, address in found if address}


# A row of each list, and its tabs, in the looks that differ most; operators' in every look.
_ROWS_SHOWN = (Look(1280, "light"), Look(390, "dark"))


@pytest.mark.parametrize("look", LOOKS, ids=str)
@pytest.mark.parametrize("role", ROLES)
def test_every_page_of_the_sidebar_and_a_row_of_each_list(
    role: str, look: Look, open_as: OpenAs
) -> None:
    has_rows = role == "operator" or look in _ROWS_SHOWN
    with open_as(role, look) as window:
        window.go("/admin/")
        window.shoot(f"{role}-home")
        pages = _links(window, "#nav-sidebar-apps a")
        assert len(pages) >= 8
        for title, address in pages.items():
            window.go(address)
            name = title.lower().replace(" ", "-")
            window.shoot(f"{role}-{name}")
            rows = list(_links(window, _ROW).values()) if has_rows else []
            if rows:
                window.go(rows[0])
                window.shoot(f"{role}-{name}-row")
                _walk_tabs(window, f"{role}-{name}-row")


def _walk_tabs(window: Watched, name: str) -> None:
    for title, address in _links(window, ".cus-tabs a").items():
        window.go(address)
        window.shoot(f"{name}-{title.lower().replace(' ', '-')}")


@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_the_sign_in_and_the_pages_that_the_sidebar_has_not(look: Look, open_as: OpenAs) -> None:
    with open_as(None, look) as window:
        window.go("/admin/")
        window.shoot("sign-in")
    with open_as("member", look) as window:
        for name in ("second-factor/setup", "sessions"):
            window.go(f"/admin/{name}/")
            window.shoot(f"own-{name.replace('/', '-')}")
    with open_as("operator", look) as window:
        window.go("/admin/mails/")
        window.shoot("operator-mails")
