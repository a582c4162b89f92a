"""Fields that convert nothing: "5" is not a number, 1 is not true, and texts are not trimmed."""

from datetime import datetime
from typing import Any, ClassVar

from django.utils.dateparse import parse_datetime
from rest_framework import serializers

MAX_INTEGER = 2**31 - 1
_YEARS = range(2000, 3000)


class StrictText(serializers.CharField):
    """A text, stored unchanged."""

    def __init__(self, **options: Any) -> None:
        super().__init__(trim_whitespace=False, **options)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class StrictEmail(StrictText, serializers.EmailField):
    """An e-mail address, stored unchanged."""


class StrictInteger(serializers.IntegerField):
    """A JSON integer, from 0 on unless `min_value` says otherwise."""

    def __init__(self, *, min_value: int = 0, max_value: int = MAX_INTEGER, **options: Any) -> None:
        super().__init__(min_value=min_value, max_value=max_value, **options)

    def to_internal_value(self, data: Any) -> int:
        if type(data) is not int:
            self.fail("invalid")
        return data


class StrictBoolean(serializers.BooleanField):
    """true or false."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=type(data).__name__)
        return data


class StrictChoice(serializers.ChoiceField):
    """One of some words."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str):
            self.fail("invalid_choice", input=type(data).__name__)
        return super().to_internal_value(data)


class StrictMoment(serializers.DateTimeField):
    """A time with its zone, in ISO 8601."""

    def to_internal_value(self, value: Any) -> datetime:
        try:
            moment = parse_datetime(value) if isinstance(value, str) else None
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None or moment.year not in _YEARS:
            raise serializers.ValidationError(
                "Give a time with its zone, such as 2026-11-01T00:00:00Z.", code="invalid"
            )
        return moment


_MOST_NAMED = 10


class StrictInput(serializers.Serializer[object]):
    """Refuses unknown fields: otherwise a mistyped name would be ignored without an error."""

    # Fields that answers show and requests can't set; they are refused with a text of their own.
    shown_only: ClassVar[frozenset[str]] = frozenset()

    def to_internal_value(self, data: object) -> object:
        if isinstance(data, dict):
            unknown = sorted(set(data) - set(self.fields))
            if unknown:
                raise serializers.ValidationError(self._hints(unknown))
        return super().to_internal_value(data)

    def _hints(self, unknown: list[str]) -> dict[str, list[str]]:
        """An error for each of the first unknown fields; the last names the number of the rest."""
        hints = {name: [self._hint(name)] for name in unknown[:_MOST_NAMED]}
        if (more := len(unknown) - _MOST_NAMED) > 0:
            hints[unknown[_MOST_NAMED - 1]].append(f"{more:,} more fields are unknown, too.")
        return hints

    def _hint(self, name: str) -> str:
        if name in self.shown_only:
            return "This field can't be set this way; it is only shown."
        return f"Unknown field. Known are {', '.join(self.fields)}."
