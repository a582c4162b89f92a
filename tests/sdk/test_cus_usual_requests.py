"""The quick bound of usual requests is the bound, or none (ruling F3b)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aos_sdk.cus_enforcing.estimates import estimate_call
from aos_sdk.cus_enforcing.usual_requests import bound_of_usual
from aos_sdk.cus_wire import CusOperation

_MODELS = [
    "gpt-4o",
    "gpt-5-mini",
    "claude-sonnet-4-5",
    "gemini-2.5-pro",
    "deepseek-chat",
    "no-such",
]
_MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant"]), "content": st.text()}
    ),
    max_size=6,
)
_MAXIMA = st.dictionaries(
    st.sampled_from(["max_tokens", "max_completion_tokens"]), st.integers(-1, 10**7) | st.none()
)
# It changes no estimate, and is not usual.
_UNUSUAL = {"logit_bias": {"1": 1}}


@pytest.mark.parametrize("model", _MODELS)
@given(messages=_MESSAGES, maxima=_MAXIMA)
def test_the_quick_bound_equals_the_slow_one(
    model: str, messages: list[dict[str, str]], maxima: dict[str, int | None]
) -> None:
    arguments = {"model": model, "messages": messages, "temperature": 0.5, **maxima}
    quick = bound_of_usual(CusOperation.CHAT, model, arguments)
    slow = estimate_call(CusOperation.CHAT, model, arguments | _UNUSUAL, own_prices=False)
    assert quick is None or (slow is not None and tuple(quick) == tuple(slow))


def test_models_of_the_price_table_have_a_quick_bound() -> None:
    arguments = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 100}
    quick = [bound_of_usual(CusOperation.CHAT, model, arguments) for model in _MODELS]
    assert [one is not None for one in quick] == [True, True, True, False, False, False]


def test_a_long_prompt_may_have_another_price() -> None:
    arguments = {"messages": [{"role": "user", "content": "a" * 100_001}]}
    assert bound_of_usual(CusOperation.CHAT, "claude-sonnet-4-5", arguments) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"n": 2},
        {"tools": []},
        {"service_tier": "priority"},
        {"messages": "Hello"},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]},
        {"messages": [{"role": "user", "content": "Hello", "name": "Ann"}]},
        {"messages": [("user", "Hello")]},
    ],
)
def test_any_other_request_has_none(changes: dict[str, Any]) -> None:
    arguments = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 100, **changes}
    assert bound_of_usual(CusOperation.CHAT, "gpt-4o", arguments) is None
