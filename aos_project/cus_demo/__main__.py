"""The start of `manage.py cus_demo`: find or start a product to report to."""

import argparse
import os
import sys

from aos_project.cus_demo.cus_product import BASE_URL, ProductUnavailable, product_at


def main(argv: list[str]) -> int:
    """Run the command against the running product, or start a product; return the exit code."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--base-url", default=BASE_URL)
    base_url = parser.parse_known_args(argv[2:])[0].base_url
    try:
        with product_at(base_url):
            return _run_command(argv)
    except ProductUnavailable as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _run_command(argv: list[str]) -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aos_project.settings")
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(argv)
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 1
    return 0
