"""`python -m tests.trust.cus_sweeper`: sweeps holds for each line that comes, and says so.

Each sweep has a connection of its own, so that it goes on after the database was killed.
"""

import os
import sys

import django


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aos_project.settings")
    django.setup()
    from django.db import connections

    from enforcement.tasks import cus_sweep_holds

    for _line in sys.stdin:
        cus_sweep_holds()
        connections.close_all()
        sys.stdout.write("swept\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
