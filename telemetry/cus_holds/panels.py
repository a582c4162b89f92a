"""Panels on limits: how much of them is used."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from integrations.cus_console.amounts import dollars
from integrations.cus_console.panels import Cell
from integrations.cus_lifecycle.limits import LIMITS, Limit, Unit
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_clock import page_now
from telemetry.cus_holds.limits import has_share, limits_of

_PERMILLE = 1_000
_NEAR_PERCENT = 80


@dataclass(frozen=True)
class Bar:
    """A limit's use, as a text and as parts of a thousand."""

    title: Cell
    text: str
    limited: bool
    used_permille: int = 0
    held_permille: int = 0
    is_near: bool = False


def limit_bars(request: HttpRequest, integration: CusIntegration) -> SafeString:
    """A bar for each limit of an integration."""
    standing = limits_of(integration, now=page_now(request))
    bars = [_bar(limit, standing[limit.shown_as]) for limit in LIMITS]
    return render_to_string("admin/cus_limit_bars.html", {"bars": bars})


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
    used_permille = min(used * _PERMILLE // most, _PERMILLE)
    held_permille = min(held * _PERMILLE // most, _PERMILLE - used_permille)
    near = shown["percent"] >= _NEAR_PERCENT
    return Bar(
        title,
        text,
        limited=True,
        used_permille=used_permille,
        held_permille=held_permille,
        is_near=near,
    )
