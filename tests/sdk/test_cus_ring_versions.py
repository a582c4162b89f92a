"""Two releases of the SDK on one host: rings go from the older to the newer, never torn or lost."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from aos_sdk.cus_delivery import ring
from tests.conftest import ROOT
from tests.cus_last_release import RELEASE, last_release
from tests.sdk.conftest import KEY, MakeReporter
from tests.sdk.cus_fake_servers import CusFakeCollector
from tests.sdk.cus_reports import cus_eventually, cus_record

# Reports a plain record, one with metadata, and a call that is priced when it is sent; then dies.
_DYING = """
import os, sys
import aos_sdk
from aos_sdk import CusCallTracker, CusReporter, CusTokenUsage, CusUsageRecord
assert aos_sdk.__file__.startswith(sys.argv[3]), aos_sdk.__file__
version = int(sys.argv[4])
if version:
    from aos_sdk.cus_delivery import ring
    ring.VERSION, ring.READABLE_VERSIONS = version, frozenset(range(1, version + 1))
reporter = CusReporter(sys.argv[2], sys.argv[1], batch_interval=60.0)
details = {"tokens_cached": 3, "tokens_reasoning": 2, "session_id": "s", "latency_ms": 7}
reporter.report(CusUsageRecord("plain", "gpt-4o", 10, 5, 1, timestamp=10**18, **details))
reporter.report(
    CusUsageRecord("long", "gpt-4o", 10, 5, 1, timestamp=10**18, metadata={"a": "b" * 1_000})
)
with CusCallTracker(reporter, "openai", "gpt-4o", call_id="call") as call:
    call.set_usage(CusTokenUsage(1_000, 500, 100, tokens_total=1_500), "flex")
os.kill(os.getpid(), 9)
"""
# Reports one record of its own, sends so many that it finds, and looks once more for any.
_LIVING = """
import sys, time
import aos_sdk
from aos_sdk import CusReporter, CusUsageRecord
from aos_sdk.cus_connection import CusConnection
from aos_sdk.cus_spool import CusSpool, spool_folder
assert aos_sdk.__file__.startswith(sys.argv[3]), aos_sdk.__file__
reporter = CusReporter(sys.argv[2], sys.argv[1], batch_interval=0.05)
reporter.report(CusUsageRecord("own", "gpt-4o", 10, 5, 1))
assert reporter.flush(20) == 0
deadline = time.monotonic() + 20
while reporter.stats.adopted < int(sys.argv[4]) and time.monotonic() < deadline:
    time.sleep(0.01)
reporter.shutdown(20)
spool = CusSpool(spool_folder("state"), CusConnection.resolve(sys.argv[2], sys.argv[1]))
assert list(spool.adopt()) == []
"""
# Reports some records that wait, and sends them, and as many more, once it is told to.
_WAITING = """
import sys
import aos_sdk
from aos_sdk import CusReporter, CusUsageRecord
assert aos_sdk.__file__.startswith(sys.argv[3]), aos_sdk.__file__
count = int(sys.argv[4])
reporter = CusReporter(sys.argv[2], sys.argv[1], batch_interval=60.0)
for number in range(count):
    reporter.report(CusUsageRecord(f"old-{number}", "gpt-4o", 10, 5, 1))
print("they wait", flush=True)
sys.stdin.readline()
for number in range(count, 2 * count):
    reporter.report(CusUsageRecord(f"old-{number}", "gpt-4o", 10, 5, 1))
assert reporter.flush(20) == 0
"""
_LEFT = {"plain", "long", "call"}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last release's package."""
    package = last_release(tmp_path_factory.mktemp("release"))
    if package is None:
        pytest.skip(f"commit {RELEASE} of SDK 0.1.0 is not in this clone: fetch the whole history")
    return package


@pytest.fixture(scope="module")
def here() -> Path:
    return ROOT / "sdk" / "python"


def _die(package: Path, url: str, *, version: int = 0) -> None:
    """Leave a ring behind, of the package's own version or of another."""
    assert _run(_DYING, package, url, version) == -9


def _live(package: Path, url: str, *, adopting: int) -> None:
    assert _run(_LIVING, package, url, adopting) == 0


def _run(program: str, package: Path, url: str, number: int) -> int:
    return subprocess.run(_command(program, package, url, number), timeout=60).returncode


def _command(program: str, package: Path, url: str, number: int) -> list[str]:
    # A path of its own before all others, where the one that is installed would win over PYTHONPATH.
    program = f"import sys\nsys.path.insert(0, {str(package)!r})\n{program}"
    return [sys.executable, "-c", program, url, KEY, str(package), str(number)]


def _rings(tmp_path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (tmp_path / "spool").glob("*/*.ring")}


def _told(collector: CusFakeCollector) -> str:
    """The records that were left behind, as text; without what differs from run to run.

    A call is priced when it is sent, so its pricing version is that of the release that sends it.
    """
    told = [dict(collector.stored[name]) for name in sorted(_LEFT)]
    for record in told:
        del record["process_id"]
        if record["call_id"] == "call":
            del record["timestamp"], record["latency_ms"], record["pricing_version"]
    return json.dumps(told, sort_keys=True)


def test_a_ring_of_the_last_release_is_sent_by_this_one_as_the_release_would(
    release: Path,
    make_reporter: MakeReporter,
    collector: CusFakeCollector,
    tmp_path: Path,
) -> None:
    _die(release, collector.url)
    assert len(_rings(tmp_path)) == 1
    make_reporter().report(cus_record(1))
    cus_eventually(lambda: len(collector.stored) == 4)
    by_this = _told(collector)
    collector.stored.clear()

    _die(release, collector.url)
    _live(release, collector.url, adopting=3)
    assert by_this == _told(collector)


def test_the_last_release_and_this_one_run_together_and_each_keeps_to_its_ring(
    release: Path, make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    old = subprocess.Popen(
        _command(_WAITING, release, collector.url, 10),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert old.stdout
    assert old.stdout.readline() == "they wait\n"
    new = make_reporter()
    new.report(cus_record(1))
    assert new.flush(20) == 0
    assert new._sender
    cus_eventually(lambda: new._sender and not new._sender._is_adopting(), 20.0)
    assert (new.stats.adopted, list(collector.stored)) == (0, ["call-1"])

    _die(release, collector.url)
    new._sender._adoption._adopt_at = 0.0
    cus_eventually(lambda: new.stats.adopted == len(_LEFT), 20.0)
    old.communicate("go on\n", timeout=60)
    assert old.returncode == 0
    assert new.flush(20) == 0
    sent = [row["call_id"] for batch in collector.batches for row in batch]
    assert sorted(sent) == sorted({"call-1", *_LEFT, *(f"old-{number}" for number in range(20))})


def test_the_last_release_leaves_a_ring_of_a_later_version_as_it_is(
    release: Path, here: Path, collector: CusFakeCollector, tmp_path: Path
) -> None:
    _die(here, collector.url, version=ring.VERSION + 1)
    left = _rings(tmp_path)
    assert len(left) == 1

    _live(release, collector.url, adopting=0)
    assert collector.stored.keys() == {"own"}
    assert _rings(tmp_path) == left


@pytest.mark.skipif(ring.VERSION > 1, reason="rings of this version are not for the last release")
def test_the_last_release_sends_a_ring_of_its_own_version_whoever_wrote_it(
    release: Path, here: Path, collector: CusFakeCollector, tmp_path: Path
) -> None:
    _die(here, collector.url)
    _live(release, collector.url, adopting=3)
    assert collector.stored.keys() == {"own", *_LEFT}
    assert _rings(tmp_path) == {}


def test_every_earlier_version_is_read_by_an_sdk_whose_version_is_raised(
    here: Path,
    make_reporter: MakeReporter,
    collector: CusFakeCollector,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raised = ring.VERSION + 2
    for version in (ring.VERSION, raised - 1, raised, raised + 1):
        _die(here, collector.url, version=version)
    monkeypatch.setattr(ring, "VERSION", raised)
    monkeypatch.setattr(ring, "READABLE_VERSIONS", frozenset(range(1, raised + 1)))
    reporter = make_reporter()
    reporter.report(cus_record(1))

    cus_eventually(lambda: reporter.stats.adopted == 3 * len(_LEFT))
    # Left are its own ring and that of the version above.
    cus_eventually(lambda: len(list((tmp_path / "spool").glob("*/*.ring"))) == 2)
    assert reporter.flush(5) == 0
    versions = sorted(
        int.from_bytes(content[8:12], "little") for content in _rings(tmp_path).values()
    )
    assert versions == [raised, raised + 1]
