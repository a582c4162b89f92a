#!/usr/bin/env python
"""Django's command line, and the two commands that begin before Django can."""

import os
import sys


def main() -> None:
    # The runner writes the configuration that Django's settings need; the demo may start it.
    if sys.argv[1:2] == ["cus_run"]:
        from aos_project.cus_runner import main as run

        raise SystemExit(run(sys.argv[2:]))
    if sys.argv[1:2] == ["cus_demo"]:
        from aos_project.cus_demo.__main__ import main as demo

        raise SystemExit(demo(sys.argv))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aos_project.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
