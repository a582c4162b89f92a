"""Rules for an integration's fields, beyond those of its columns."""

from decimal import Decimal

from django.core.exceptions import ValidationError

from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_providers.rules import check_config
from integrations.cus_web.errors import LevelNotReachable

# Bottom to top (§15.4).
LADDER = tuple(CusIntegration.EnforcementLevel.values)
_TOP = CusIntegration.EnforcementLevel.BLOCK
# §13.1: hard limits need this much of the traffic to be governed.
MIN_COVERAGE_PERCENT = Decimal(95)


def check_fields(integration: CusIntegration) -> None:
    """Raise ValidationError, by field, unless the integration may be stored as it is;
    ProviderUnsupported if this release can't serve its provider type.

    The database checks that the name is free, when the row is written.
    """
    # Whose it is and who made it are rows that were read already, not what somebody entered.
    integration.clean_fields(exclude={"tenant", "created_by"})
    for field in ("name", "default_model"):
        text = getattr(integration, field)
        if text is not None and (text != text.strip() or not text.isprintable()):
            hint = "This text must not begin or end with a space, nor hold control characters."
            raise ValidationError({field: hint})
    check_config(integration.provider_type, integration.config)


def check_level(level: str, *, current: str, coverage_percent: Decimal | None) -> None:
    """Raise LevelNotReachable unless the ladder allows this step (ruling F7).

    Unknown coverage is accepted: without a call, no call was bypassed.
    """
    rung, now_at = LADDER.index(level), LADDER.index(current)
    if rung <= now_at:
        return
    if rung > now_at + 1:
        raise LevelNotReachable(
            f"The level is {current}; it goes up one rung at a time. Next is {LADDER[now_at + 1]}."
        )
    if level == _TOP and coverage_percent is not None and coverage_percent < MIN_COVERAGE_PERCENT:
        raise LevelNotReachable(
            f"Of the calls seen lately {coverage_percent} % were governed; {_TOP} needs "
            f"{MIN_COVERAGE_PERCENT} %. Route the rest through the SDK first."
        )
