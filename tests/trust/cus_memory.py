"""What a campaign's processes take of the machine's memory."""

import os
import time
from pathlib import Path

# Looking takes at most this part of the time: the kernel goes through all pages of each process.
_SHARE_OF_TIME = 0.2
_KIB = 1024
# With less left on the machine, the kernel may soon end processes, ours or others.
_LEAST_LEFT_BYTES = 10**9


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(found for child in children for found in family(int(child)))]


class PeakMemory:
    """The most memory that this process and its descendants had together, in bytes, when looked at.

    Each shared page counts once: the proportional set sizes of all processes are added.
    """

    def __init__(self) -> None:
        self.most_bytes = 0
        self.processes = 0
        self._next_look = 0.0

    def look(self) -> None:
        """Add up what is in use now, if the last look was long enough ago.

        Raises MemoryError if the machine has hardly any memory left.
        """
        if _left_bytes() < _LEAST_LEFT_BYTES:
            raise MemoryError(f"the machine has no memory left; at most {self}")
        began = time.monotonic()
        if began < self._next_look:
            return
        sizes = [_bytes_of(pid) for pid in family(os.getpid())]
        self.most_bytes = max(self.most_bytes, sum(sizes))
        self.processes = max(self.processes, len(sizes))
        ended = time.monotonic()
        self._next_look = ended + (ended - began) / _SHARE_OF_TIME

    def __str__(self) -> str:
        return f"{self.most_bytes / 1e9:.1f} GB in {self.processes:,} processes"


def _bytes_of(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        # It is gone by now.
        return 0
    return _sum_of("Pss:", text)


def _left_bytes() -> int:
    return _sum_of("MemAvailable:", Path("/proc/meminfo").read_text())


def _sum_of(name: str, text: str) -> int:
    """In bytes, of the lines with this name; the kernel writes KiB."""
    return sum(int(line.split()[1]) * _KIB for line in text.splitlines() if line.startswith(name))
