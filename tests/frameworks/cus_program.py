"""The process in which a framework runs, in the framework's own environment.

It reads the name of a cell from each line of its standard input, runs the cell, and answers with one
line of JSON. The line `govern` installs the SDK. What frameworks print goes to standard error.
"""

import gc
import importlib
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Final, TextIO

GOVERN: Final = "govern"
_FLUSH_SECONDS: Final = 10.0


def main(framework: str, mode: str) -> None:
    """Answer for `framework` until standard input ends; `mode` is `bare` or `governed`."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    # What frameworks and providers' packages warn of is not the subject.
    warnings.simplefilter("ignore")
    flush = _govern() if mode == "governed" else dict
    module = importlib.import_module(f"tests.frameworks.programs.cus_{framework.replace('-', '_')}")
    rows: Mapping[str, Mapping[str, Callable[[], Any]]] = module.ROWS
    _say(answers, {row: list(cells) for row, cells in rows.items()})
    for line in sys.stdin:
        if line.strip() == GOVERN:
            flush = _govern()
            continue
        row, _, column = line.strip().partition("|")
        _say(answers, {**_outcome(rows[row][column]), **flush()})


def _outcome(cell: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"output": cell()}
    except Exception as error:  # noqa: BLE001 - whatever a framework raises is its output
        traceback.print_exc()
        return {"output": None, "error": f"{type(error).__name__}: {error}"}


def _govern() -> Callable[[], dict[str, Any]]:
    """Install the middleware, as a program's first lines do; return what sends its records."""
    from aos_sdk import cus_configure, cus_install_middleware

    reporter = cus_configure()
    cus_install_middleware()

    def flush() -> dict[str, Any]:
        gc.collect()  # Streams that a framework has dropped end here.
        return {"left": reporter.flush(_FLUSH_SECONDS)}

    return flush


def _say(answers: TextIO, answer: Any) -> None:
    answers.write(f"{json.dumps(answer, default=str)}\n")
    answers.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
