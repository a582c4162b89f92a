"""docs/console.md shows pictures that a run of the browser's tests made, and no others."""

import re
from pathlib import Path

from tests.browser.cus_pictures import FOLDER, PICTURES

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "console.md"


def test_the_page_shows_the_pictures_that_the_tests_make() -> None:
    shown = re.findall(r"!\[[^\]]+\]\(console/([^)]+)\)", _PAGE.read_text())

    assert set(shown) == set(PICTURES)
    assert {one.name for one in FOLDER.iterdir()} == set(PICTURES)
