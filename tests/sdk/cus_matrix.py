"""`make test-sdk-matrix`: the capture tests on the ends of every provider major that we support.

For each major the oldest and the newest release that the extras admit, in an environment of its
own below `.data/sdk-matrix`, side by side with the other package's major of the same rank. The
tests run without Django, as they would at a customer's.
"""

import argparse
import os
import re
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".data" / "sdk-matrix"
sys.path.insert(0, str(ROOT / "sdk" / "python"))

from aos_sdk.cus_capture.provider_versions import SUPPORTED  # noqa: E402  (found by the line above)
from aos_sdk.cus_providers.provider import CusSupportedRange  # noqa: E402  (likewise)

# The versions that this environment is pinned to: only the provider packages vary.
TOOLS = ("pytest", "pytest-timeout", "hypothesis", "urllib3", "certifi", "botocore")
# Clients whose requests the SDK records if it is told to; aiohttp is tested there alone.
_HTTP_CLIENTS = ("aiohttp", "httpx", "requests")
_USES_PROVIDERS = re.compile(
    r"""^(?:import|from) (?:openai|anthropic|tests\.sdk\.cus_capture_cases)\b"""
    r"""|importorskip\("(?:openai|anthropic)""",
    re.MULTILINE,
)
# These read what only the newest packages, or others than the providers', have.
_ONLY_HERE = frozenset(
    {
        *("test_cus_usage.py", "test_cus_token_counter.py", "test_cus_typing.py"),
        "test_cus_resources.py",  # what requests cost is listed for the pinned packages
        "test_cus_named_models.py",  # the models that the pinned packages name
    }
)


@dataclass(frozen=True)
class Corner:
    """One environment: its name, and a requirement for each provider package."""

    name: str
    requirements: tuple[str, ...]

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return HOME / self.name / "bin" / "python"


def corners() -> Iterator[Corner]:
    """The environments to try, oldest majors first."""
    majors = {
        package: list(range(known.oldest[0], known.below)) for package, known in SUPPORTED.items()
    }
    for rank in range(max(map(len, majors.values()))):
        chosen = {package: found[min(rank, len(found) - 1)] for package, found in majors.items()}
        name = "-".join(f"{package}{major}" for package, major in chosen.items())
        oldest = tuple(
            f"{package}=={_oldest(SUPPORTED[package], major)}" for package, major in chosen.items()
        )
        newest = tuple(
            f"{package}>={_oldest(SUPPORTED[package], major)},<{major + 1}"
            for package, major in chosen.items()
        )
        yield Corner(f"{name}-oldest", oldest)
        yield Corner(f"{name}-newest", newest)


def tests() -> list[Path]:
    """The test files that use a provider package."""
    found = sorted(Path(__file__).parent.glob("test_cus_*.py"))
    return [
        path
        for path in found
        if path.name not in _ONLY_HERE and _USES_PROVIDERS.search(path.read_text(encoding="utf-8"))
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Install and test; 1 if a corner failed."""
    parser = argparse.ArgumentParser(prog="make test-sdk-matrix", description=__doc__)
    parser.add_argument("--only", help="corners whose name has this in it")
    parser.add_argument("--no-install", action="store_true", help="use what is installed")
    options, for_pytest = parser.parse_known_args(arguments)
    failed = []
    chosen = [corner for corner in corners() if (options.only or "") in corner.name]
    for corner in chosen:
        if not options.no_install:
            _install(corner)
        sys.stdout.write(f"== {corner.name}: {', '.join(_versions(corner))}\n")
        sys.stdout.flush()
        if _test(corner, for_pytest):
            failed.append(corner.name)
    sys.stdout.write(
        f"FAILED: {', '.join(failed)}\n" if failed else f"{len(chosen)} corners passed.\n"
    )
    return 1 if failed or not chosen else 0


def _oldest(known: CusSupportedRange, major: int) -> str:
    minor = known.oldest[1] if major == known.oldest[0] else 0
    return f"{major}.{minor}.0"


def _install(corner: Corner) -> None:
    if not corner.python.exists():
        venv.create(corner.python.parents[1], with_pip=True, symlinks=True)
    tools = [f"{name}=={metadata.version(name)}" for name in TOOLS]
    pip = [str(corner.python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "--upgrade", *corner.requirements, *tools, *_HTTP_CLIENTS], check=True)


def _versions(corner: Corner) -> list[str]:
    code = "from importlib.metadata import version as v; print(*map(v, __import__('sys').argv[1:]))"
    command = [str(corner.python), "-c", code, *SUPPORTED]
    versions = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return [f"{package} {version}" for package, version in zip(SUPPORTED, versions, strict=True)]


def _test(corner: Corner, for_pytest: Sequence[str]) -> int:
    here = Path(__file__).parent
    # Above this folder lies the product's own set-up: Django, its database, its plugin.
    where = ["-c", str(here / "cus_matrix.ini"), "--rootdir", str(here), "--confcutdir", str(here)]
    quiet = ["-q", "-p", "no:cacheprovider", *for_pytest]
    command = [str(corner.python), "-m", "pytest", *where, *quiet, *map(str, tests())]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "sdk" / "python")])
    environment = os.environ | {"PYTHONPATH": paths}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
