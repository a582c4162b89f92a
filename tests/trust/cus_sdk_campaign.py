"""`make trust-sdk`: 500 fault windows, and a few against the product itself.

`python -m tests.trust.cus_sdk_campaign [--windows 500] [--seed 1] [--real 5]` prints what was done
and found. The exit code is 0 if nothing was found, 1 if something was.
"""

import argparse
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
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="cus-trust-sdk-") as folder:
        result = run_campaign(Path(folder), windows=options.windows, seed=options.seed, say=_say)
        _say(str(result))
        found = list(result.findings)
        if options.real:
            real = run_real(Path(folder), rounds=options.real, seed=options.seed)
            _say(str(real))
            found += real.findings
    for finding in found:
        _say(f"FOUND: {finding}")
    _say("Something was found." if found else "Nothing was found.")
    return 1 if found else 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
