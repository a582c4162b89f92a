#!/usr/bin/env python
"""Django's command line, and `manage.py cus_run`, which starts the whole product."""

import os
import sys


def main() -> None:
    # The runner writes the configuration that Django's settings need, so it starts before them.
    if sys.argv[1:2] == ["cus_run"]:
        from aos_project.cus_runner import main as run

        raise SystemExit(run(sys.argv[2:]))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aos_project.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
