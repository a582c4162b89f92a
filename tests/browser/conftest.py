"""A served product, a browser, and a world that both show."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
from playwright.sync_api import Browser, sync_playwright
from pytest_django import DjangoDbBlocker

from tests.browser.cus_pages import Look, Watched, watched
from tests.cus_factories import make_tenant
from tests.cus_small_world import World, make_world
from tests.e2e.cus_served import ServedProduct

OpenAs = Callable[[str | None, Look], AbstractContextManager[Watched]]


@pytest.fixture(scope="session", autouse=True)
def _committed(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """All that these tests make is committed, so that the served product sees it.

    Playwright runs a loop of its own in this thread, and Django would refuse it the database.
    """
    with pytest.MonkeyPatch.context() as patch, django_db_blocker.unblock():
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        yield


@pytest.fixture(scope="session")
def served(_committed: None) -> Iterator[ServedProduct]:
    """The product. It may ask providers on this machine, over plain http."""
    product = ServedProduct(CUS_ALLOW_HTTP_PROVIDERS="1", CUS_ALLOWED_PRIVATE_HOSTS="127.0.0.1")
    with product:
        yield product


@pytest.fixture(scope="session")
def world(_committed: None) -> World:
    """A tenant with people of every role, and calls."""
    return make_world(make_tenant("Umbrella"))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's chromium."""
    program = shutil.which("chromium")
    if program is None:
        pytest.fail("There is no chromium here: `make test-browser` installs it.")
    with sync_playwright() as playwright:
        # Root, as in a container, may not use the sandbox.
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def open_as(browser: Browser, served: ServedProduct, world: World) -> OpenAs:
    """Opens a window in which a person of that role is signed in; None: nobody is."""

    def opened(role: str | None, look: Look) -> AbstractContextManager[Watched]:
        session_id = world.session_of(role) if role else None
        return watched(browser, served.base_url, session_id, look)

    return opened
