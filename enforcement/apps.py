"""The decisions plane: may this call run?"""

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class EnforcementConfig(AppConfig):
    name = "enforcement"
    verbose_name = "Enforcement"

    def ready(self) -> None:
        post_migrate.connect(
            _make_partitions, sender=self, dispatch_uid="cus_make_decision_partitions"
        )


def _make_partitions(using: str, **_signal: Any) -> None:
    from enforcement.cus_decisions.models import CusEnforcementDecision
    from telemetry.cus_clock import database_now
    from telemetry.cus_evidence.partitions import make_partitions

    make_partitions(database_now(using), using=using, table=CusEnforcementDecision._meta.db_table)
