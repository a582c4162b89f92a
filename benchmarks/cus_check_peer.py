from benchmarks.cus_report import Section
from benchmarks.cus_sizes import Sizes


def measure(sizes: Sizes) -> Section:
    return Section("peer", ("x",))
