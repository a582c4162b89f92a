"""Imports this app's models, because Django looks for them here."""

from enforcement.cus_decisions.models import (
    CusDecisionReasons,
    CusDecisionTotals,
    CusEnforcementDecision,
)

__all__ = ["CusDecisionReasons", "CusDecisionTotals", "CusEnforcementDecision"]
