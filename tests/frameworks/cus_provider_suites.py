"""`make test-provider-suites`: openai's and anthropic's own tests, bare and governed.

The suites are those of the source distributions, without `api_resources`, which need a mock server of
the provider's. A test that ends otherwise under the SDK shows a program that the SDK would break: the list of
such tests must be empty.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.frameworks.cus_environments import ROOT, NotInstallable, lock, python_of, source_of
from tests.sdk.cus_fake_servers import CusFakeCollector

SUITES: Final = ("openai", "anthropic")
_PLUGIN: Final = Path(__file__).with_name("plugin")
# A test that hangs fails, in both runs.
_TEST_SECONDS: Final = 120

Outcomes = Mapping[str, str]
# A test's outcome without the SDK, and with it.
Pair = tuple[str, str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suites; 1 if a test ends otherwise under the SDK, or if a suite did not run."""
    parser = argparse.ArgumentParser(prog="make test-provider-suites", description=__doc__)
    parser.add_argument("--only", choices=SUITES, help="this suite alone")
    parser.add_argument("--lock", action="store_true", help="pin the newest releases first")
    parser.add_argument("paths", nargs="*", help="files of the suite: all but api_resources")
    parser.add_argument("-k", help="these tests alone, as pytest chooses them")
    parser.add_argument("-n", default="2", help="pytest's processes: 2")
    options = parser.parse_args(arguments)
    chosen = [options.only] if options.only else list(SUITES)
    if options.lock:
        lock([f"suite-{package}" for package in chosen])
    selection = ["-k", options.k] if options.k else []
    paths = options.paths or ["tests", "--ignore", "tests/api_resources"]
    return max(_tried(package, [*paths, "-n", options.n, *selection]) for package in chosen)


def _tried(package: str, arguments: Sequence[str]) -> int:
    began = time.monotonic()
    try:
        suite = _Suite(package)
    except NotInstallable as reason:
        _say(f"NOT TRIED: {package}, because it could not be installed: {reason}")
        return 1
    bare, governed = suite.run(arguments, governed=False), suite.run(arguments, governed=True)
    differing = suite.confirmed(differing_tests(bare, governed))
    counts = ", ".join(f"{count} {name}" for name, count in sorted(Counter(bare.values()).items()))
    _say(f"== {suite.folder.name}: {len(bare)} tests in {time.monotonic() - began:.0f} s")
    _say(f"without the SDK: {counts}")
    for test, (without, under) in differing.items():
        _say(f"DIFFERS: {test}: {without} without the SDK, {under} with it")
    _say(f"{len(differing)} tests differ. Output of pytest: {suite.log(governed=True)}")
    return 1 if differing or not bare else 0


def differing_tests(bare: Outcomes, governed: Outcomes) -> dict[str, Pair]:
    """The tests with different outcomes, and both outcomes; a test that did not run is `absent`."""
    names = sorted(bare.keys() | governed.keys())
    pairs = {name: (bare.get(name, "absent"), governed.get(name, "absent")) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


class _Suite:
    """A package's tests, and the environment in which they run. Raises NotInstallable."""

    def __init__(self, package: str) -> None:
        self.folder = source_of(package)
        self._python = python_of(f"suite-{package}")

    def run(self, arguments: Sequence[str], *, governed: bool) -> Outcomes:
        """The outcome of each test that the arguments of pytest choose."""
        with tempfile.TemporaryDirectory() as folder, CusFakeCollector() as collector:
            outcomes = Path(folder) / "outcomes.json"
            environment = _environment(Path(folder), collector.url, outcomes, governed=governed)
            pytest = [str(self._python), "-m", "pytest", "-p", "cus_suite_plugin", "-q"]
            options = ["--no-header", "-p", "no:cacheprovider", f"--timeout={_TEST_SECONDS}"]
            with self.log(governed=governed).open("w") as output:
                subprocess.run(
                    [*pytest, *options, *arguments],
                    cwd=self.folder,
                    env=environment,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    check=False,
                )
            return json.loads(outcomes.read_text()) if outcomes.exists() else {}

    def log(self, *, governed: bool) -> Path:
        """Where pytest's output of the last run is."""
        mode = "governed" if governed else "bare"
        return self.folder.with_name(f"{self.folder.name}-{mode}.log")

    def confirmed(self, differing: Mapping[str, Pair]) -> dict[str, Pair]:
        """The tests that differ again when their files run alone: chance does not count."""
        if not differing:
            return {}
        alone = ["-n", "0", *sorted({name.partition("::")[0] for name in differing})]
        again = differing_tests(self.run(alone, governed=False), self.run(alone, governed=True))
        return {name: pair for name, pair in again.items() if name in differing}


def _environment(folder: Path, url: str, outcomes: Path, *, governed: bool) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {
        **kept,
        "AWS_EC2_METADATA_DISABLED": "true",  # else botocore looks for credentials in the network
        "HOME": str(folder),
        "PYTHONPATH": os.pathsep.join([str(_PLUGIN), str(ROOT / "sdk" / "python")]),
        "CUS_SUITE_OUTCOMES": str(outcomes),
        "CUS_SUITE_IS_GOVERNED": "1" if governed else "0",
        "CUS_INTEGRATION_KEY": "tenant-1:integration-1:aosk_verysecretindeed",
        "CUS_SPOOL_DIR": str(folder / "spool"),
        "AOS_BASE_URL": url,
    }


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
