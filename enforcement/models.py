"""The door through which Django finds this app's models."""

from enforcement.cus_models import CusDecisionTotals, CusEnforcementDecision

__all__ = ["CusDecisionTotals", "CusEnforcementDecision"]
