"""Imports this app's models, because Django looks for them here."""

from enforcement.cus_decisions.models import CusDecisionTotals, CusEnforcementDecision
from enforcement.cus_what_if.models import CusSimulation

__all__ = ["CusDecisionTotals", "CusEnforcementDecision", "CusSimulation"]
