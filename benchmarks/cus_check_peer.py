"""litellm's budget limiter: the time of a check, and how many calls it admits to the last room."""

import json
import subprocess
import tempfile

from benchmarks.cus_peer_servers import NotInstallable, install, peer_command, quiet_environment
from benchmarks.cus_report import Section
from benchmarks.cus_rounds import percentile
from benchmarks.cus_sizes import Sizes

_PACKAGE = "litellm==1.106.2"
_END_SECONDS = 120.0
_MICROSECONDS = 1_000_000


def measure(sizes: Sizes) -> Section:
    section = Section(
        "litellm's RouterBudgetLimiting, in the memory of one process: no hold, nothing durable",
        ("peer", "checks/s", "p50 us", "p99 us", "let in of 100 at once, room for 10"),
    )
    try:
        install([_PACKAGE])
        section.rows.append(_row(sizes.check_seconds))
    except NotInstallable as error:
        section.notes.append(f"Left out: {_PACKAGE} can't be installed here ({error}).")
    section.notes.append(
        "Not the same work: it looks at a sum in memory, which other processes have copies of and"
    )
    section.notes.append(
        "which calls join when they are over. Ours lets in 10 (make trust-enforcement)."
    )
    return section


def _row(seconds: float) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            peer_command("cus_peer_litellm.py", str(seconds)),
            env=quiet_environment(folder) | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds + _END_SECONDS,
        )
    if done.returncode != 0:
        raise NotInstallable((done.stderr.strip().splitlines() or ["no reason given"])[-1])
    measured = json.loads(done.stdout.splitlines()[-1])
    latencies = measured["latencies"]
    return [
        _PACKAGE.replace("==", " "),
        f"{len(latencies) / measured['seconds']:,.0f}",
        *(f"{percentile(latencies, share) * _MICROSECONDS:.0f}" for share in (0.5, 0.99)),
        str(measured["let_in"]),
    ]
