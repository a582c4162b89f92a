"""A browser's page that notices what no page of the console may do."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Response

# What a run leaves to look at.
SHOTS = Path(__file__).resolve().parents[2] / ".browser"
WIDTHS = {1280: 900, 390: 844}
NARROW = min(WIDTHS)
SCHEMES = ("light", "dark")
# On a phone a row of a list is a name and two lines, of which a long text may take one more.
_LINES_OF_A_ROW = 4
_MOST_LINES = """Math.max(0, ...[...document.querySelectorAll("#result_list .data-row")].map(row => {
    const style = getComputedStyle(row);
    const inner = row.clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom);
    return Math.round(inner / parseFloat(style.lineHeight));
}))"""


@dataclass(frozen=True)
class Look:
    """A window's width, and the colours that the person prefers."""

    width: int = 1280
    scheme: str = "light"

    def __str__(self) -> str:
        return f"{self.width}-{self.scheme}"


LOOKS = [Look(width, scheme) for width in WIDTHS for scheme in SCHEMES]


@dataclass
class Watched:
    """A page, and the faults that were seen on it."""

    page: Page
    base_url: str
    look: Look
    faults: list[str] = field(default_factory=list)

    def go(self, address: str, *, expected: int = 200) -> Page:
        """Open an address of the product; answers with another status are faults."""
        answer = self.page.goto(f"{self.base_url}{address}")
        assert answer is not None
        if answer.status != expected:
            self.faults.append(f"{address} answered {answer.status}")
        self.settle()
        return self.page

    def shoot(self, name: str, *, whole: bool = True) -> Path:
        """Keep a picture of the page."""
        SHOTS.mkdir(exist_ok=True)
        shot = SHOTS / f"{name}-{self.look}.png"
        self.page.screenshot(path=str(shot), full_page=whole)
        return shot

    def settle(self) -> None:
        """Wait until the page is as a person sees it, and look at its width."""
        self.page.wait_for_load_state("load")
        wide = self.page.evaluate(
            "document.fonts.ready.then(() => document.documentElement.scrollWidth)"
        )
        if wide > self.look.width:
            self.faults.append(f"{self.page.url} is {wide} pixels wide")
        lines = self.page.evaluate(_MOST_LINES)
        if self.look.width == NARROW and lines > _LINES_OF_A_ROW:
            self.faults.append(f"{self.page.url} has a row of {lines} lines")


@contextmanager
def watched(
    browser: Browser, base_url: str, session_id: str | None, look: Look
) -> Iterator[Watched]:
    """A new window in which that session is signed in. Raises AssertionError for any fault."""
    size = {"width": look.width, "height": WIDTHS[look.width]}
    context = browser.new_context(
        viewport=size,  # type: ignore[arg-type]  # a mapping of the same keys
        color_scheme=look.scheme,  # type: ignore[arg-type]  # one of SCHEMES
        reduced_motion="reduce",
        permissions=["clipboard-read", "clipboard-write"],
    )
    if session_id:
        cookie = {"name": "sessionid", "value": session_id, "url": base_url}
        context.add_cookies([cookie])  # type: ignore[list-item]  # a mapping of the same keys
    found = Watched(context.new_page(), base_url, look)
    _watch(found)
    try:
        yield found
    finally:
        context.close()
    if found.faults:
        raise AssertionError("\n".join(found.faults))


def _watch(found: Watched) -> None:
    page, own = found.page, urlsplit(found.base_url).netloc

    def request(url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.netloc != own:
            found.faults.append(f"{page.url} asked {parts.netloc}")

    def response(answer: Response) -> None:
        if answer.status >= 400 and answer.request.resource_type != "document":
            found.faults.append(f"{answer.url} answered {answer.status}")

    def line(one: ConsoleMessage) -> None:
        if one.type == "error":
            found.faults.append(f"{page.url}: {one.text}")

    def dialog(one: Dialog) -> None:
        found.faults.append(f"{page.url} opened a dialog")
        one.dismiss()

    page.on("request", lambda one: request(one.url))
    page.on("response", response)
    page.on("pageerror", lambda error: found.faults.append(f"{page.url}: {error}"))
    page.on("console", line)
    page.on("dialog", dialog)
