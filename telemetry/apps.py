"""The facts plane: evidence (append-only), and analytics that can be rebuilt from it."""

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class TelemetryConfig(AppConfig):
    name = "telemetry"
    verbose_name = "Telemetry"

    def ready(self) -> None:
        from integrations.cus_prices.price_list import answer_by
        from telemetry.cus_money import checks  # noqa: F401  (registers the system check)
        from telemetry.cus_money.price_samples import TenantPriceList
        from telemetry.cus_retention import checks as _retention_checks  # noqa: F401

        answer_by(TenantPriceList())
        post_migrate.connect(_make_partitions, sender=self, dispatch_uid="cus_make_partitions")


def _make_partitions(using: str, **_signal: Any) -> None:
    from telemetry.cus_clock import database_now
    from telemetry.cus_evidence.partitions import make_partitions

    make_partitions(database_now(using), using=using)
