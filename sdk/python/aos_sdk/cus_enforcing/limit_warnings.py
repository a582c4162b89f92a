"""Warn a program, at its own line, that a limit will soon refuse its calls."""

import sys
import time
import warnings
from typing import Final

from aos_sdk.cus_call_sites import call_site
from aos_sdk.cus_enforcing.decisions import EnforcementDecision
from aos_sdk.cus_errors import CusLimitWarning

_EVERY_SECONDS: Final = 60.0


class CusLimitWarnings:
    """Tells of decisions that warn, once a minute at most."""

    def __init__(self) -> None:
        self._warned_at = -_EVERY_SECONDS

    def warn(self, decision: EnforcementDecision) -> None:
        """Tell of a decision, in the program's own thread."""
        now = time.monotonic()
        if now - self._warned_at < _EVERY_SECONDS:
            return
        self._warned_at = now
        text = " ".join(reason.message for reason in decision.reasons if reason.message)
        file, line = call_site(sys._getframe())  # noqa: SLF001 - as `inspect` does, at a tenth
        warnings.warn_explicit(CusLimitWarning(text), CusLimitWarning, file, line)
