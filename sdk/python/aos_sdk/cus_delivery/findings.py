"""The findings of `python -m aos_sdk doctor`."""

from dataclasses import dataclass
from enum import StrEnum


class CusState(StrEnum):
    """The result of a check; only `problem` makes the doctor fail."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class CusFinding:
    """The finding of one check, in a sentence."""

    check: str
    state: CusState
    says: str
