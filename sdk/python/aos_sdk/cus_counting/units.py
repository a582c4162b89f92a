"""What is billed otherwise than by tokens, of answers that say nothing of their usage (ruling M5b).

What was asked for tells it: the characters of a speech, the number of images, the seconds of a
video.
"""

from collections.abc import Mapping
from typing import Any, Final

from aos_sdk.cus_cost import get_model_pricing
from aos_sdk.cus_counting.answer_fields import get, seconds, text_of
from aos_sdk.cus_wire import CusOperation

_CHARACTERS: Final = "characters"
_IMAGES: Final = "images"
_SECONDS: Final = "seconds"
# Models that are billed by the image, whatever the price table has of them.
_BY_IMAGE: Final = "dall-e-"
_VIDEO: Final = "video"
# Videos of this many pixels on their shorter side have the plain price of a second.
_PLAIN_LINES: Final = 720


def units_of(
    operation: CusOperation | None, model: str, arguments: Mapping[str, Any], answer: Any
) -> Mapping[str, int] | None:
    """Units of a call that is billed by them; None where the call's usage is unknown.

    `answer` is the provider's object or its JSON, None where it is neither (text, sound).
    """
    if get(answer, "object") == _VIDEO:
        return _video_units(arguments, answer)
    if operation == CusOperation.AUDIO:
        return _audio_units(model, arguments, answer)
    if operation == CusOperation.IMAGE and (model.startswith(_BY_IMAGE) or _is_by(_IMAGES, model)):
        images = get(answer, "data")
        return {_IMAGES: len(images)} if isinstance(images, list) and images else None
    return None


def _audio_units(model: str, arguments: Mapping[str, Any], answer: Any) -> Mapping[str, int] | None:
    spoken = arguments.get("input")
    if isinstance(spoken, str):
        # Other models speak by tokens, whose number only a stream of events says.
        return {_CHARACTERS: len(spoken)} if spoken and _is_by(_CHARACTERS, model) else None
    duration = _number(get(answer, "duration"))
    return {_SECONDS: duration} if duration and _is_by(_SECONDS, model) else None


def _video_units(arguments: Mapping[str, Any], answer: Any) -> Mapping[str, int] | None:
    """Seconds of a video that is going to be made, by its size: `seconds` of 720p, `seconds_1024`."""
    # An extended video tells its whole length, of which the seconds that were asked for are new.
    duration = _number(arguments.get(_SECONDS)) or _number(get(answer, _SECONDS))
    sides = (text_of(answer, "size") or "").split("x")
    if not duration or not all(side.isascii() and side.isdigit() for side in sides):
        return None
    lines = min(map(int, sides))
    return {_SECONDS if lines <= _PLAIN_LINES else f"{_SECONDS}_{lines}": duration}


def _is_by(unit: str, model: str) -> bool:
    pricing = get_model_pricing(model)
    return pricing is not None and unit in pricing.unit_rates


def _number(duration: Any) -> int:
    """Whole seconds of a duration; some releases of the package have it as a text."""
    if isinstance(duration, str):
        try:
            duration = float(duration)
        except ValueError:
            return 0
    return seconds(duration)
