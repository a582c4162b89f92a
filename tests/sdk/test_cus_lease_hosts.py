"""Leases of gunicorn's and Celery's workers, and of a sandbox that is frozen (docs/sdk.md)."""

import http.client
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cus_ports import free_port
from tests.sdk.cus_fake_servers import CusFakeGovernor
from tests.sdk.cus_reports import cus_eventually
from tests.sdk.test_cus_recipes import children_of, running_group
from tests.trust.cus_sdk_program import KEY

ROOT = Path(__file__).resolve().parents[2]
RECIPE = re.findall(
    r"<!-- recipe: limits -->\n```python\n(.*?)```",
    (ROOT / "docs" / "sdk.md").read_text(encoding="utf-8"),
    re.DOTALL,
)[0]
_LENT = {"cents": 100_000, "microcents": 10**11, "tokens": 10**9, "calls": 1_000}


@pytest.fixture
def lender(governor: CusFakeGovernor) -> CusFakeGovernor:
    governor.lent = dict(_LENT)
    governor.lease_seconds = 2.0
    return governor


@pytest.fixture
def environment(lender: CusFakeGovernor, tmp_path: Path) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO")}
    return own | {
        "CUS_INTEGRATION_KEY": KEY,
        "AOS_BASE_URL": lender.url,
        "CUS_SPOOL_DIR": str(tmp_path / "spool"),
        "CUS_ENFORCE": "auto",
        "CUS_BATCH_INTERVAL": "0.05",
        # However busy this machine is, no call is throttled for it.
        "CUS_CONTENTION_SECONDS": "20",
        "BROKER_URL": os.environ.get("REDIS_URL", "").replace("unix://", "redis+socket://"),
        "PYTHONPATH": str(tmp_path),
    }


def _ask(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def _leased(lender: CusFakeGovernor) -> bool:
    """Whether a call under a lease has been reported."""
    return any("lease_id" in one for one in list(lender.stored.values()))


# The next worker looks for what dead ones have left every 30 seconds.
_HURRY = "from aos_sdk.cus_enforcing import lease_book\nlease_book._ADOPT_SECONDS = 0.2\n"


def test_each_worker_of_gunicorn_borrows_and_another_returns_what_a_killed_one_had(
    environment: dict[str, str], lender: CusFakeGovernor, tmp_path: Path
) -> None:
    (tmp_path / "recipe.py").write_text(_HURRY + RECIPE, encoding="utf-8")
    port = free_port()
    arguments = ["gunicorn", "--preload", "-w", "2", "-b", f"127.0.0.1:{port}", "recipe:app"]

    def holders() -> set[str]:
        _ask(port)
        return {one["holder_id"] for one in lender.lease_requests if "estimate" in one}

    with running_group(arguments, environment, tmp_path) as master:
        cus_eventually(lambda: _ask(port) == 200)
        cus_eventually(lambda: len(holders()) >= 2 and lender.owed, 30.0)
        for child in children_of(master):
            os.kill(child, signal.SIGKILL)
        killed = set(lender.owed)
        cus_eventually(lambda: _ask(port) == 200, 30.0)
        cus_eventually(lambda: len(holders()) >= 3 and not (killed & lender.owed), 30.0)
        cus_eventually(lambda: _ask(port) and _leased(lender), 30.0)
    assert all(one["policy_result"] == "allowed" for one in lender.stored.values())


def test_a_full_budget_is_told_to_the_caller(
    environment: dict[str, str], lender: CusFakeGovernor, tmp_path: Path
) -> None:
    lender.room, lender.lent = 0, {}
    (tmp_path / "recipe.py").write_text(RECIPE, encoding="utf-8")
    port = free_port()
    arguments = ["gunicorn", "-w", "1", "-b", f"127.0.0.1:{port}", "recipe:app"]
    with running_group(arguments, environment, tmp_path):
        cus_eventually(lambda: _ask(port) == 429, 30.0)


_TASKS = """
import os, time
import aos_sdk
from celery import Celery

app = Celery("recipe", broker=os.environ["BROKER_URL"])
aos_sdk.cus_configure()

@app.task
def ask():
    with aos_sdk.cus_track("gpt-4o", "openai", max_tokens=100) as call:
        call.set_tokens(10, 5)
    time.sleep(0.05)
"""


def test_the_pool_processes_of_celery_borrow_and_return(
    environment: dict[str, str], lender: CusFakeGovernor, tmp_path: Path
) -> None:
    (tmp_path / "tasks.py").write_text(_TASKS, encoding="utf-8")
    send = "from tasks import ask\nfor _ in range(60): ask.apply_async(queue='limits')\n"
    subprocess.run([sys.executable, "-c", send], env=environment, check=True, timeout=60)
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    pool = ["-P", "prefork", "-c", "2", "-Q", "limits", *quiet]
    with running_group(["celery", "-A", "tasks", "worker", *pool], environment, tmp_path):
        cus_eventually(lambda: len(lender.stored) >= 60, 60.0)
        cus_eventually(lambda: not lender.owed, 30.0)
    assert _leased(lender)


_SANDBOX = """
import sys, time
import aos_sdk

reporter = aos_sdk.cus_configure()

def handler():
    with aos_sdk.cus_track("gpt-4o", "openai", max_tokens=100) as call:
        call.set_tokens(10, 5)
    reporter.flush(5.0)
    return reporter.decider.stats.asked, reporter.decider.book.current is not None

while not handler()[1]:
    time.sleep(0.01)
print("borrowed", flush=True)
for line in sys.stdin:
    print(*handler(), flush=True)
"""


def test_a_sandbox_that_was_frozen_beyond_its_lease_asks_again(
    environment: dict[str, str], lender: CusFakeGovernor
) -> None:
    lender.lease_seconds = 1.0
    with subprocess.Popen(
        [sys.executable, "-c", _SANDBOX],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as sandbox:
        assert sandbox.stdin is not None
        assert sandbox.stdout is not None
        assert sandbox.stdout.readline() == "borrowed\n"
        sandbox.send_signal(signal.SIGSTOP)
        lender.lent = {}
        checks = len(lender.checks)
        # Frozen for longer than the lease lasts.
        signal.sigtimedwait([], 1.5)
        sandbox.send_signal(signal.SIGCONT)
        sandbox.stdin.write("\n")
        sandbox.stdin.close()
        assert sandbox.stdout.readline()
        sandbox.wait(30)
    assert len(lender.checks) > checks
