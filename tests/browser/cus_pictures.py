"""Puts the pictures of docs/console.md into docs/console/, from those of a run of `make test-browser`.

`python -m tests.browser.cus_pictures`
"""

import shutil
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_RUN = _ROOT / ".browser"
FOLDER = _ROOT / "docs" / "console"
# The picture in the documentation, and the run's.
PICTURES = {
    "operator-home.png": "operator-home",
    "operator-system.png": "operator-1-system",
    "integration-overview.png": "admin-integrations-row-overview",
    "integration-ladder.png": "operator-integrations-row-enforcement",
    "guide-key.png": "guide-6-key",
    "statement.png": "finance-2-by-model",
    "statement-invoice.png": "finance-5-invoice",
    "support-record.png": "support-2-record",
}


def main() -> None:
    """Copy the pictures. Raises FileNotFoundError if the run made one of them not."""
    FOLDER.mkdir(exist_ok=True)
    for name, run in PICTURES.items():
        shutil.copyfile(_RUN / f"{run}-1280-light.png", FOLDER / name)


if __name__ == "__main__":
    main()
