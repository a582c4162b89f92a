"""The start of `manage.py cus_demo`: find or start a product to report to."""

import argparse
import os
import sys

from aos_project.cus_demo.cus_product import ProductUnavailable, product_address


def main(argv: list[str]) -> int:
    """Run the command against the running product, or start a product; return the exit code."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--base-url")
    parser.add_argument("--port", type=int, default=8000)
    options, others = parser.parse_known_args(argv[2:])
    if {"-h", "--help"} & set(others):
        return _run_command([*argv[:2], *others])
    try:
        base_url = product_address(options.base_url, options.port)
    except ProductUnavailable as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return _run_command([*argv[:2], *others, "--base-url", base_url])


def _run_command(argv: list[str]) -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aos_project.settings")
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(argv)
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 1
    return 0
