"""`manage.py cus_decision_explain CALL_ID`: why a call was admitted, warned of or refused."""

import uuid
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from enforcement.cus_decisions.explain import Explanation, explain
from enforcement.cus_decisions.models import CusEnforcementDecision
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_command_line import tenant_id_of


class Command(BaseCommand):
    """Prints each decision of a call with its facts, and decides it again from them."""

    help = "Explain the decisions on a call, and name the changes that would alter them."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("call_id")
        parser.add_argument(
            "--tenant", help="name or id of the tenant, if several tenants use that call id"
        )
        parser.add_argument(
            "--integration", help="id of the integration, if several use that call id"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        tenant_id = tenant_id_of(options["tenant"])
        scope = CusEnforcementDecision.objects.filter(call_id=options["call_id"])
        if tenant_id:
            scope = scope.filter(tenant_id=tenant_id)
        if options["integration"]:
            scope = scope.filter(integration_id=_integration_id(options["integration"]))
        decisions = list(scope.order_by("created_at", "id"))
        if not decisions:
            raise CommandError(
                f"No decision is logged for {options['call_id']!r}. Plain allowed calls are counted, "
                "not logged: if the call was reported, it was admitted."
            )
        _refuse_several(decisions)
        explanations = [explain(decision) for decision in decisions]
        for explanation in explanations:
            self._print(explanation)
        if any(explanation.identical is False for explanation in explanations):
            raise CommandError("A decision made again from its facts differs from the one logged.")

    def _print(self, explanation: Explanation) -> None:
        decision = explanation.decision
        self.stdout.write(f"{decision.created_at.isoformat()}  {decision.result}")
        self.stdout.write(f"  decided by      {decision.decided_by}, at check {explanation.step}")
        for reason in decision.reasons:
            self.stdout.write(f"  {reason['code']}: {reason['message']} {reason['action']}.")
        for line in explanation.changes:
            self.stdout.write(f"  would change it {line}")
        for name, value in explanation.facts:
            self.stdout.write(f"  {name:<42} {value}")
        self.stdout.write(f"  decided again   {explanation.verdict}\n")


def _integration_id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise CommandError(f"{text!r} is not the id of an integration.") from None


def _refuse_several(decisions: list[CusEnforcementDecision]) -> None:
    """A call id names a call of one integration (ruling E1a); others may use the same text."""
    candidates = {decision.integration_id for decision in decisions}
    if len(candidates) < 2:
        return
    rows = CusIntegration.objects.filter(id__in=candidates).select_related("tenant")
    named = "\n".join(
        f"  --integration {row.id}  {row.name} of {row.tenant.name}"
        for row in rows.order_by("name")
    )
    raise CommandError(f"Several integrations have a call of that id. Choose one:\n{named}")
