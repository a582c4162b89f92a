"""`python -m aos_project.cus_embedded exec -- COMMAND`: run COMMAND with throw-away servers."""

import os
import signal
import subprocess
import sys
from types import FrameType

from aos_project.cus_embedded import ServiceError, throw_away_services

_USAGE = "usage: python -m aos_project.cus_embedded exec -- COMMAND [ARGUMENT …]\n"


def main(arguments: list[str]) -> int:
    if arguments[:2] != ["exec", "--"] or not arguments[2:]:
        sys.stderr.write(_USAGE)
        return 2
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGHUP, _leave)
    try:
        with throw_away_services() as environment:
            return subprocess.run(
                arguments[2:], env=os.environ | environment, check=False
            ).returncode
    except ServiceError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return 130


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
