"""Panels on limits: how much of them is used."""

from typing import Any

from django.http import HttpRequest
from django.utils.safestring import SafeString

from integrations.cus_console.amounts import dollars
from integrations.cus_console.bars import Bar, bars_shown
from integrations.cus_lifecycle.limits import LIMITS, Limit, Unit
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_clock import page_now
from telemetry.cus_holds.limits import has_share, limits_of

_NEAR_PERCENT = 80


def limit_bars(request: HttpRequest, integration: CusIntegration) -> SafeString:
    """A bar for each limit of an integration."""
    standing = limits_of(integration, now=page_now(request))
    bars = [_bar(limit, standing[limit.shown_as]) for limit in LIMITS]
    return bars_shown(bars)


def _bar(limit: Limit, shown: Any) -> Bar:
    title = limit.label.removesuffix(" (cents)").capitalize()
    if not has_share(limit):
        return Bar(title, f"at most {shown:,}" if shown else "no limit", limited=False)
    written = dollars if limit.unit is Unit.CENTS else "{:,}".format
    used, held, most = shown["used"], shown["held"], shown["limit"]
    text = f"{written(used)} used"
    if held:
        text += f", {written(held)} held by running calls"
    if not most:
        return Bar(title, f"{text}, no limit", limited=False)
    text += f" of {written(most)}: {written(shown['remaining'])} left"
    near = shown["percent"] >= _NEAR_PERCENT
    return Bar.of(title, text, used=used, held=held, most=most, is_near=near)
