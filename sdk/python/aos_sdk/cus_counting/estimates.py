"""A local count where the provider gave none: a stream without usage, one that broke off (T2).

It takes a bounded part of the caller's time (T3). What the tokenizer does not get done in that time
is approximated, and can be counted later: `CusRecount`.
"""

from collections.abc import Callable, Mapping, Sequence
from sys import getsizeof
from time import perf_counter
from typing import Any, Final, NamedTuple

from aos_sdk.cus_cost import CusTokenUsage
from aos_sdk.cus_counting.approximation import approximate_tokens
from aos_sdk.cus_counting.exact import (
    CusCountingEnded,
    CusTokenizerFailed,
    count_pieces,
    in_time,
    pieces_of,
)
from aos_sdk.cus_counting.prompts import CusPromptParts, parts_of_prompt
from aos_sdk.cus_token_counter import (
    encoding_for,
    get_model_info,
    may_be_counted,
    ready_to_count,
    wait_until_ready,
)
from aos_sdk.cus_wire import COUNTED_BY_APPROXIMATION, COUNTED_BY_TOKENIZER

# Of 5 ms of the caller's thread, the longest piece that is begun in time takes 1, and so does the
# approximation.
COUNTING_SECONDS: Final = 0.003
_LONGEST_PIECE: Final = 4_096
# More than this cannot be counted in that time, in any script.
_MOST_CHARACTERS: Final = 200_000
# Texts of one call that wait to be counted later take at most so much memory.
MOST_KEPT_BYTES: Final = 4 * 1024 * 1024


class CusLocalCount(NamedTuple):
    """What a call used, as counted here. `counted_by` is `tokenizer` or `approximation`.

    `recount` counts what was approximated; None where nothing can be told better.
    """

    usage: CusTokenUsage
    counted_by: str
    recount: "CusRecount | None"


class CusRecount:
    """Counts a call's texts by the tokenizer, later and in another thread. It holds the texts."""

    def __init__(
        self, parts: CusPromptParts, answer: str, model: str, known: CusTokenUsage
    ) -> None:
        self._parts = parts
        self._answer = answer
        self._model = model
        self._known = known
        self.size_bytes = sum(map(getsizeof, (answer, *parts.texts)))

    def usage(self, seconds_left: Callable[[], float]) -> CusTokenUsage | None:
        """What the call used, by the tokenizer; None where that fails, or its time is over.

        Waits for the model's encoding while there is time.
        """
        if not wait_until_ready(self._model, seconds_left):
            return None
        counted = _counted(self._parts, self._answer, self._model, lambda: seconds_left() <= 0)
        return None if counted is None else _usage(counted, self._known)


class _Counted(NamedTuple):
    prompt: int
    answer: int


def count_call(
    arguments: Mapping[str, Any],
    answer: str,
    model: str,
    known: CusTokenUsage = CusTokenUsage(),  # noqa: B008 - it cannot be changed
    *,
    clock: Callable[[], float] = perf_counter,
) -> CusLocalCount:
    """Count what a call has sent and what it has answered so far, beside what is known of it.

    `arguments` are those of chat completions, completions, responses or messages. Tokens of the
    prompt that the provider has told stand. `clock` tells seconds.
    """
    until = clock() + COUNTING_SECONDS

    def is_over() -> bool:
        return clock() >= until

    parts = CusPromptParts() if known.tokens_in else parts_of_call(arguments, model, is_over)
    counted = _counted_in_time(parts, answer, model, is_over)
    if counted is not None:
        return CusLocalCount(_usage(counted, known), COUNTED_BY_TOKENIZER, None)
    counted = _approximated(parts, answer, model)
    recount = CusRecount(parts, answer, model, known)
    wants_recount = parts.is_complete and may_be_counted(model)
    if not wants_recount or recount.size_bytes > MOST_KEPT_BYTES:
        return CusLocalCount(_usage(counted, known), COUNTED_BY_APPROXIMATION, None)
    return CusLocalCount(_usage(counted, known), COUNTED_BY_APPROXIMATION, recount)


def _usage(counted: _Counted, known: CusTokenUsage) -> CusTokenUsage:
    return known._replace(
        tokens_in=known.tokens_in or counted.prompt,
        tokens_out=max(counted.answer, known.tokens_out),
    )


def _counted_in_time(
    parts: CusPromptParts, answer: str, model: str, is_over: Callable[[], bool]
) -> _Counted | None:
    characters = len(answer) + sum(map(len, parts.texts))
    if not parts.is_complete or characters > _MOST_CHARACTERS:
        return None
    if not may_be_counted(model) or not ready_to_count(model):
        return None
    return _counted(parts, answer, model, is_over, _LONGEST_PIECE)


def _counted(
    parts: CusPromptParts,
    answer: str,
    model: str,
    is_over: Callable[[], bool],
    longest: int | None = None,
) -> _Counted | None:
    """By the tokenizer; None where it has not got it done, or there is none for this model."""
    encoding = encoding_for(model)
    if encoding is None:
        return None
    totals = []
    try:
        for texts in (parts.texts, (answer,)):
            pieces = (piece for text in texts for piece in pieces_of(text, longest))
            totals.append(count_pieces(encoding, in_time(pieces, is_over)))
    except (CusCountingEnded, CusTokenizerFailed):
        return None
    return _Counted(parts.overhead + totals[0], totals[1])


def _approximated(parts: CusPromptParts, answer: str, model: str) -> _Counted:
    # By the table alone: tiktoken's own map takes an import.
    encoding = get_model_info(model).tokenizer_name
    prompt = parts.overhead + approximate_tokens(parts.texts, encoding)
    return _Counted(int(prompt / parts.share), approximate_tokens((answer,), encoding))


def parts_of_call(
    arguments: Mapping[str, Any], model: str, is_over: Callable[[], bool]
) -> CusPromptParts:
    """What the prompt of a call consists of, as far as there is time to look at it."""
    info = get_model_info(model)
    tools: list[Any] = []
    for name in ("tools", "functions"):
        offered = arguments.get(name)
        tools += offered if isinstance(offered, list | tuple) else ()
    about = (info.provider, info.model)
    return parts_of_prompt(_messages(arguments), tools, _format(arguments), about, is_over)


def _format(arguments: Mapping[str, Any]) -> Any:
    text = arguments.get("text")
    within = text.get("format") if isinstance(text, Mapping) else arguments.get("text_format")
    return within or arguments.get("response_format") or arguments.get("output_format")


def _messages(arguments: Mapping[str, Any]) -> Sequence[Any]:
    messages: list[Any] = []
    for name in ("system", "instructions"):
        if text := arguments.get(name):
            messages.append({"role": "system", "content": text})
    for name in ("messages", "input", "prompt"):
        content = arguments.get(name)
        if isinstance(content, str):
            messages.append({"role": "user", "content": content})
        elif isinstance(content, list | tuple):
            messages.extend(
                {"role": "user", "content": part} if isinstance(part, str) else part
                for part in content
            )
    return messages
