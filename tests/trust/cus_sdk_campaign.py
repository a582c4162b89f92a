"""`make trust-sdk`: 500 fault windows, and a few against the product itself.

`python -m tests.trust.cus_sdk_campaign [--windows 500] [--seed 1] [--workers 2] [--real 5]` prints
what it finds as it finds it, and what was done. Interrupted, it finishes what is under way and says
what was done so far. The exit code is 0 if nothing was found, 1 if something was.
"""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from tests.trust.cus_sdk_real import run_real
from tests.trust.cus_sdk_windows import run_campaign


def main(arguments: list[str]) -> int:
    """Run it all."""
    parser = argparse.ArgumentParser(prog="make trust-sdk", description=__doc__)
    parser.add_argument("--windows", type=int, default=500)
    parser.add_argument("--real", type=int, default=5, help="rounds against the product itself")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="windows at a time")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="cus-trust-sdk-") as folder:
        result = run_campaign(
            Path(folder),
            windows=options.windows,
            seed=options.seed,
            workers=options.workers,
            say=_say,
        )
        _say(str(result))
        found = list(result.findings)
        if options.real and result.windows == options.windows:
            real = run_real(Path(folder), rounds=options.real, seed=options.seed, say=_say)
            _say(str(real))
            found += real.findings
    _say("Something was found." if found else "Nothing was found.")
    return 1 if found else 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
