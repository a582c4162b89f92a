"""Imports this app's models, because Django looks for them here."""

from enforcement.cus_decisions.models import CusDecisionTotals, CusEnforcementDecision

__all__ = ["CusDecisionTotals", "CusEnforcementDecision"]
