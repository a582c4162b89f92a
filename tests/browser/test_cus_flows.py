"""What people come to the console for, from beginning to end, in each look."""

import re
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest
from playwright.sync_api import Page, expect

from integrations.cus_lifecycle.models import CusIntegration
from tests.browser.conftest import OpenAs
from tests.browser.cus_pages import LOOKS, Look, Watched
from tests.cus_local_server import CusLocalServer
from tests.cus_small_world import PASSWORD, World
from tests.e2e.cus_served import ServedProduct

_BUTTON = "#content form button[type=submit]"
_PATIENCE_MS = 15_000


class _Models(BaseHTTPRequestHandler):
    """A provider that lists its models to whoever has the right key."""

    def do_GET(self) -> None:
        is_right = self.headers.get("Authorization") == "Bearer sk-right-key"
        body = b'{"object": "list", "data": []}' if is_right else b'{"error": {"code": "bad"}}'
        self.send_response(200 if is_right else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_line: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def provider() -> Iterator[CusLocalServer]:
    with CusLocalServer(_Models) as server:
        yield server


def _press(page: Page, text: str) -> None:
    with page.expect_navigation():
        page.get_by_text(text, exact=True).first.click()


def _submit(page: Page) -> None:
    with page.expect_navigation():
        page.click(_BUTTON)


@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_a_tenants_admin_goes_from_a_provider_to_the_first_call(
    look: Look, open_as: OpenAs, provider: CusLocalServer
) -> None:
    name = f"Guided {look}"
    with open_as("admin", look) as window:
        _enter_provider(window, name, f"{provider.url}/v1")
        _test_until_the_key_is_right(window)
        _set_limits(window)
        _issue_and_call(window)
    made = CusIntegration.objects.get(name=name)
    assert (made.status, made.budget_limit_cents) == ("enabled", 2550)


def _enter_provider(window: Watched, name: str, base_url: str) -> None:
    page = window.go("/admin/start/")
    window.shoot("guide-1-provider")
    _press(page, "OpenAI-compatible")
    page.fill("input[name=name]", name)
    page.fill("input[name=config_base_url]", base_url)
    page.fill("input[name=secret_api_key]", "sk-wrong-key")
    window.shoot("guide-2-credential")
    _submit(page)


def _test_until_the_key_is_right(window: Watched) -> None:
    page = window.page
    _submit(page)
    expect(page.get_by_text("Enter another credential")).to_be_visible()
    window.shoot("guide-3-refused")
    _press(page, "Enter another credential")
    page.fill("input[name=secret_api_key]", "sk-right-key")
    _submit(page)
    _submit(page)
    expect(page.get_by_text("The provider accepts the credential")).to_be_visible()
    window.shoot("guide-4-tested")


def _set_limits(window: Watched) -> None:
    page = window.page
    _press(page, "Go on to the limits")
    page.fill("input[name=budget_limit_cents]", "25.50")
    window.shoot("guide-5-limits")
    _submit(page)


def _issue_and_call(window: Watched) -> None:
    page = window.page
    _submit(page)
    expect(page.get_by_text("Waiting for the first call")).to_be_visible()
    window.settle()
    window.shoot("guide-6-key")
    page.click("[data-cus-copy='#issued-secret']")
    expect(page.locator("[data-cus-copy='#issued-secret']")).to_have_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.locator("#issued-secret").inner_text()
    program = page.locator("details", has_text="Any language").locator("code")
    command = program.text_content() or ""
    subprocess.run(["/bin/sh", "-c", command], check=True, capture_output=True)
    expect(page.get_by_text("The first call is here.")).to_be_visible(timeout=_PATIENCE_MS)
    window.shoot("guide-7-first-call")
    with page.expect_navigation():
        page.click("#first-call a")
    window.settle()
    assert "first-call-" in page.content()


@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_an_operator_makes_a_customer_with_its_admin(look: Look, open_as: OpenAs) -> None:
    with open_as("operator", look) as window:
        page = window.go("/admin/start/")
        _press(page, "A new customer first")
        page.fill("input[name=name]", f"Customer {look}")
        page.fill("input[name=email]", f"ada-{look}@customer.example.com")
        window.shoot("customer-1-form")
        _submit(page)
        expect(page.get_by_text("its first admin is invited by mail")).to_be_visible()
        _press(page, "Anthropic")
        window.settle()
        window.shoot("customer-2-first-integration")
        assert page.locator("select[name=tenant] option:checked").inner_text() == f"Customer {look}"


@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_finance_reads_the_month_and_checks_an_invoice(
    look: Look, open_as: OpenAs, world: World
) -> None:
    with open_as("finance", look) as window:
        page = window.go("/admin/statement/")
        window.shoot("finance-1-tenants")
        with page.expect_navigation():
            page.get_by_role("link", name=world.tenant.name).last.click()
        for number, tab in enumerate(("model", "agent", "day"), 2):
            window.go(f"{_path(page)}?tenant={world.tenant.id}&by={tab}")
            window.shoot(f"finance-{number}-by-{tab}")
        window.go(f"{_path(page)}invoices/?tenant={world.tenant.id}")
        page.select_option("select[name=integration]", label=world.integration.name)
        page.fill("input[name=total]", "12.34")
        page.fill("input[name=note]", "INV-2026-11")
        _submit(page)
        expect(page.get_by_text("note: INV-2026-11")).to_be_visible()
        window.settle()
        window.shoot("finance-5-invoice")
        window.go(f"/admin/statement/2026-10/close/?tenant={world.tenant.id}")
        window.shoot("finance-6-close")


def _path(page: Page) -> str:
    return re.sub(r"^https?://[^/]+|\?.*$", "", page.url)


@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_support_finds_a_call_by_its_id_and_why_another_was_refused(
    look: Look, open_as: OpenAs, world: World
) -> None:
    with open_as("support", look) as window:
        page = window.go("/admin/")
        page.fill("#cus-find-q", f" {world.call_id.upper()} ")
        with page.expect_navigation():
            page.press("#cus-find-q", "Enter")
        window.shoot("support-1-found")
        with page.expect_navigation():
            page.get_by_role("link", name=world.call_id).first.click()
        window.settle()
        assert world.call_id in page.content()
        window.shoot("support-2-record")

        window.go(f"/console/evidence/call/{world.refused_call_id}")
        with page.expect_navigation():
            page.get_by_role("link", name=world.refused_call_id).first.click()
        window.settle()
        window.shoot("support-3-decision")
        assert "budget" in page.content()


def test_the_slash_moves_the_cursor_to_the_search_and_nowhere_else(open_as: OpenAs) -> None:
    with open_as("operator", Look()) as window:
        page = window.go("/admin/telemetry/cusllmusage/")
        page.locator("body").press("/")
        assert page.evaluate("document.activeElement.id") == "cus-find-anywhere"
        page.keyboard.type("a/b")
        assert page.input_value("#cus-find-anywhere") == "a/b"


@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_an_operator_sees_what_is_wrong_and_goes_to_it(
    look: Look, open_as: OpenAs, world: World
) -> None:
    with open_as("operator", look) as window:
        page = window.go("/admin/system/")
        window.shoot("operator-1-system")
        expect(page.get_by_text("The job cus-seal-evidence is late by")).to_be_visible()
        page.locator("#content a[href='#jobs']").first.click()
        assert page.url.endswith("#jobs")
        window.go(f"/admin/integrations/cusintegration/{world.integration.id}/tab/ladder/")
        _press(page, "Lower to Throttle")
        window.shoot("operator-2-question")
        _submit(page)
        expect(page.get_by_text("The enforcement is a rung lower.")).to_be_visible()
        window.go(f"/admin/integrations/cusintegration/{world.integration.id}/tab/ladder/")
        _press(page, "Raise to Block")
        _submit(page)
        expect(page.get_by_text("The enforcement is a rung higher.")).to_be_visible()
    assert CusIntegration.objects.get(id=world.integration.id).enforcement_level == "block"


def test_a_person_signs_in_and_a_deep_link_survives_it(
    open_as: OpenAs, world: World, served: ServedProduct
) -> None:
    with open_as(None, Look()) as window:
        page = window.go(f"/console/integrations/{world.integration.id}/activity")
        page.fill("input[name=username]", world.people["member"].email)
        page.fill("input[name=password]", PASSWORD)
        with page.expect_navigation():
            page.click("button[type=submit]")
        assert f"/admin/integrations/cusintegration/{world.integration.id}/" in page.url


def test_pages_without_scripts_from_the_console_run_none(open_as: OpenAs) -> None:
    with open_as("member", Look()) as window:
        page = window.go("/admin/")
        ran = page.evaluate(
            """() => {
                const script = document.createElement("script");
                script.textContent = "window.ran = true";
                document.body.append(script);
                return window.ran === true;
            }"""
        )
        assert ran is False
        # The browser reports what the policy refused: that is the fault that was provoked.
        assert [fault for fault in window.faults if "Content Security Policy" in fault]
        window.faults.clear()
