"""Hostile records as Hypothesis thinks of them; it also makes small what it finds."""

from typing import Any

from hypothesis import strategies as st

from tests.trust.cus_hostile import FIELDS, VALUES, Value, value_of

# Every code point, halves of surrogate pairs and NUL among them.
_text = st.text(st.characters(exclude_categories=()), max_size=120)
_numbers = st.one_of(
    st.integers(),
    st.integers(2**31 - 2, 2**31 + 1),
    st.floats(),
    st.booleans(),
    st.none(),
)
_json: st.SearchStrategy[Any] = st.recursive(
    _numbers | _text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_text, inner, max_size=4),
    max_leaves=8,
)
_value: st.SearchStrategy[Value] = st.sampled_from(VALUES) | _json.map(value_of)
_field = st.tuples(st.sampled_from(FIELDS) | _text, _value)

# The hostile fields of some records; what else a record has is good.
hostile_fields: st.SearchStrategy[list[list[tuple[str, Value]]]] = st.lists(
    st.lists(_field, max_size=4), min_size=1, max_size=12
)
