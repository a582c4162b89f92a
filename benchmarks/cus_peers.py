"""stub"""

from benchmarks.cus_report import Section


def measure(*a: object) -> Section:
    return Section("", ())
