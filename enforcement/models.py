"""Imports this app's models, because Django looks for them here."""

from enforcement.cus_models import CusDecisionTotals, CusEnforcementDecision

__all__ = ["CusDecisionTotals", "CusEnforcementDecision"]
