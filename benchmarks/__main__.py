"""`python -m benchmarks [--full | --tiny] [--only NAME …] [--peers | --enforcement | --scopes]`."""

import argparse
import os
import signal
import sys
from types import FrameType

from aos_project.cus_embedded import ServiceError, throw_away_services
from benchmarks.cus_sizes import DEFAULT, FULL, TINY, options_of_sizes

SECTIONS = ("ingest", "http", "totals", "growth")


def main(arguments: list[str]) -> int:
    full = "12 million rows, more and longer rounds"
    parser = options_of_sizes("make bench", __doc__, SECTIONS, full=full)
    parser.add_argument("--peers", action="store_true", help="arize-phoenix and mlflow instead")
    parser.add_argument("--enforcement", action="store_true", help="checks instead")
    parser.add_argument("--scopes", action="store_true", help="limits at scopes instead")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGHUP, _leave)
    try:
        with throw_away_services(durable=True) as environment:
            os.environ.update(environment)
            return _run(options)
    except ServiceError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return 130


def _run(options: argparse.Namespace) -> int:
    # The settings are read from the environment, so nothing of Django's may come before it.
    os.environ["DJANGO_SETTINGS_MODULE"] = "aos_project.settings"
    import django

    django.setup()
    from benchmarks import cus_run

    sizes = FULL if options.full else TINY if options.tiny else DEFAULT
    if options.peers:
        return cus_run.run_peers(sizes)
    if options.scopes:
        return cus_run.run_scopes(sizes)
    if options.enforcement:
        return cus_run.run_enforcement(sizes)
    return cus_run.run(sizes, options.only)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
