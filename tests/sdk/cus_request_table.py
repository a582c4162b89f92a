"""The table in docs/sdk.md of what requests cost, made of the providers' lists.

`python -m tests.sdk.cus_request_table` prints it.
"""

import sys
from collections.abc import Iterator
from itertools import groupby

from aos_sdk.cus_providers.registry import PROVIDERS
from aos_sdk.cus_providers.requests import CusCost

HEAD = "| cost | provider | paths of POST requests | why |\n| --- | --- | --- | --- |\n"
Row = tuple[CusCost, str, str, str]


def table() -> str:
    """The table as Markdown, in the lists' order: captured, counted, free."""
    rows = sorted(_rows(), key=lambda row: list(CusCost).index(row[0]))
    lines = (" | ".join((cost.value, *cells)) for cost, *cells in rows)
    return HEAD + "".join(f"| {line} |\n" for line in lines)


def _rows() -> Iterator[Row]:
    for provider in PROVIDERS:
        if provider.paths:
            paths = (path.decode() for path in provider.paths)
            yield CusCost.CAPTURED, provider.key, _code(paths), "a call, with its usage"
        for (cost, why), kinds in groupby(provider.requests, lambda kind: (kind.cost, kind.why)):
            yield cost, provider.key, _code(kind.path for kind in kinds), why


def _code(paths: Iterator[str]) -> str:
    return ", ".join(f"`{path}`" for path in paths)


if __name__ == "__main__":
    sys.stdout.write(table())
