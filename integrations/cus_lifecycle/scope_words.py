"""The words for people of what calls name. Pure, because reasons of decisions are made of them."""

from collections.abc import Mapping
from typing import Final

from aos_sdk.cus_limit_scopes import CusLimitScope

_WORDS: Final[Mapping[str, str]] = {
    CusLimitScope.MODEL: "model",
    CusLimitScope.AGENT: "agent",
    CusLimitScope.SESSION: "session",
    CusLimitScope.END_USER: "end user",
    CusLimitScope.TAG: "tag",
}


def scope_word(scope: str) -> str:
    """Of what kind a call's name is, such as "end user"; another scope's own word."""
    return _WORDS.get(scope, scope)


def named_text(scope: str, value: str, tag: str = "") -> str:
    """One name of calls, such as "agent crawler" or "tag team=red"."""
    return f"{scope_word(scope)} {f'{tag}={value}' if tag else value}"
