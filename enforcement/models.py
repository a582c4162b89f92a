"""Imports this app's models, because Django looks for them here."""

from enforcement.cus_decisions.models import (
    CusDecisionReasons,
    CusDecisionTotals,
    CusEnforcementDecision,
    CusSeenRefusals,
)
from enforcement.cus_learning.models import CusAnsweringModel, CusLearnedOutput, CusLearningMark
from enforcement.cus_what_if.models import CusSimulation

__all__ = [
    "CusAnsweringModel",
    "CusDecisionReasons",
    "CusDecisionTotals",
    "CusEnforcementDecision",
    "CusLearnedOutput",
    "CusLearningMark",
    "CusSeenRefusals",
    "CusSimulation",
]
