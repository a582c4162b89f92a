"""How a provider's object, or the JSON that it was made from, is asked for what it says.

Null, absent or absurd values count as nothing, and nothing raises.
"""

from typing import Any

from aos_sdk.cus_counting.classes import remember

# pydantic takes microseconds to say that an object has no such attribute, so its models are known
# by class and asked otherwise.
_is_model: dict[type, bool] = {}


def get(part: Any, name: str) -> Any:
    """A field by its name; None if `thing` is None or has no such field."""
    if part is None:
        return None
    kind = type(part)
    if kind is dict:
        return part.get(name)
    is_model = _is_model.get(kind)
    if is_model is None:
        is_model = remember(_is_model, kind, hasattr(kind, "__pydantic_extra__"))
    if not is_model:
        return getattr(part, name, None)
    fields = part.__dict__
    if name in fields:
        return fields[name]
    extra = part.__pydantic_extra__
    return extra.get(name) if extra else None


def count(part: Any, name: str) -> int:
    """A count of tokens, or 0: providers leave details out, null, and once in a while negative."""
    if part is None:
        return 0
    value = part.get(name) if type(part) is dict else get(part, name)
    return value if type(value) is int and value > 0 else 0


def view(part: Any) -> Any:
    """The fields of a provider's object as the dictionary they are: quicker to ask many times."""
    kind = type(part)
    if kind is dict or part is None or not _is_model.get(kind):
        return part
    extra = part.__pydantic_extra__
    return {**part.__dict__, **extra} if extra else part.__dict__


def reports(usage: Any, *names: str) -> bool:
    """Whether it says anything at all under one of these names."""
    return any(get(usage, name) is not None for name in names)


def text_of(part: Any, name: str) -> str | None:
    """The value if it is a text, else None."""
    value = get(part, name)
    return value if isinstance(value, str) else None


def seconds(duration: Any) -> int:
    """Whole ones: audio is billed by the nearest second, and the package has them as a float."""
    if not isinstance(duration, int | float) or not 0 < duration < 2**31:
        return 0
    return int(duration + 0.5)


def runs_on(answer: Any) -> bool:
    """Whether the provider works on after this answer, of a background response or a run."""
    return get(answer, "background") is True or get(answer, "object") == "thread.run"
