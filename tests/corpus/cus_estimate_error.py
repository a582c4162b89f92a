"""`make estimate-error`: how far estimates of the corpus' calls are from what their providers bill.

The corpus' answers bill more tokens than its prompt has. So each prompt is made as long as its answer
says, of plain English, as OpenAI's newer tokenizer counts it (of models with another tokenizer too).
Then each call is estimated as a program's gate does: by the bytes of its texts, which is a bound, and
by the tokenizer, with `max_tokens` set to what was written, and without it.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import median
from typing import Any, Final

from aos_sdk.cus_counting import estimates as counting
from aos_sdk.cus_enforcing import estimates
from aos_sdk.cus_enforcing.estimates import CusEstimate, estimate_call
from aos_sdk.cus_reported_usage import CusReportedUsage
from aos_sdk.cus_token_counter import encoding_for, wait_until_ready
from aos_sdk.cus_usage import extract_token_usage
from benchmarks.cus_report import Section, new_console
from tests.corpus.cus_calls import PROMPT, UNMEASURED, UNPRICED, Call
from tests.corpus.cus_families import ANSWERED
from tests.corpus.cus_oracle import microcents

# The operation of a method, and its argument for the most tokens to write.
_METHODS: Final = {
    "chat.completions.create": ("chat", "max_completion_tokens"),
    "responses.create": ("responses", "max_output_tokens"),
    "completions.create": ("completion", "max_tokens"),
    "messages.create": ("chat", "max_tokens"),
    "beta.messages.create": ("chat", "max_tokens"),
    "embeddings.create": ("embedding", None),
}
_PROSE: Final = (
    "An estimate that is too low lets a call pass a limit, and one that is too high refuses calls for "
    "which there was room. So a program would rather know both before it relies on either of them. "
)
_PATIENCE_SECONDS: Final = 60.0
_TOKENIZER: Final = "gpt-4o"
# A model of each of OpenAI's tokenizers.
_TOKENIZERS: Final = (_TOKENIZER, "gpt-4")
_TEXTS: Final = {
    "English": _PROSE,
    "German": "Eine zu niedrige Schätzung lässt einen Aufruf ein Limit überschreiten.",
    "Russian": "Слишком низкая оценка позволяет вызову превысить лимит.",
    "Chinese": "估计过低会让调用超出限额，估计过高则会拒绝仍有余地的调用。",
    "Japanese": "見積もりが低すぎると、呼び出しが上限を超えてしまいます。",
    "Python": "def _row(name, found):\n    ways = [one for one in found if one.billed > 0]\n",
    "JSON": '{"call_id": "call-7", "tokens_in": 1000, "tokens_out": 500, "cost_cents": 1}',
    "base64": "TWFuIGlzIGRpc3Rpbmd1aXNoZWQsIG5vdCBvbmx5IGJ5IGhpcyByZWFzb24x",
    "digits": "31415926535897932384626433832795028841971693993751",
}
_FEES = "what a hosted tool is billed beside its tokens, and how often it is used"
# The calls whose bill their request does not bound, and by what they exceed it.
BEYOND: Final = {
    "response with two searches": _FEES,
    "response that lists its searches alone": _FEES,
    "response with a search of the preview": _FEES,
    "response that reasons with a search of the preview": _FEES,
    "response with file searches": _FEES,
    "response with a container": _FEES,
    "response with an image": _FEES,
    "response with an edited image": _FEES,
    "deep research": _FEES,
    "chat of a deployment that is still called gpt-4o": "a deployment with another model's name",
    "message of long context": "a window that a header opened beyond the model's own",
}


@dataclass(frozen=True)
class Estimated:
    """A call with what it billed in microcents and tokens, and its estimates; None: unpriced here."""

    call: Call
    billed: int
    tokens: int
    by_bytes: CusEstimate
    by_tokenizer: CusEstimate
    unbounded: CusEstimate


@dataclass(frozen=True)
class Left:
    """A call that the SDK does not estimate, and why."""

    call: Call
    why: str


def estimated(call: Call) -> Estimated | Left:
    """A call's estimates by each way, or why there are none."""
    ((path, asked), *_) = call.steps
    if path not in _METHODS:
        return Left(call, "an operation that is not billed by text: the server estimates it")
    if call.bills in (UNMEASURED, UNPRICED):
        return Left(call, "nobody knows what it billed")
    operation, most = _METHODS[path]
    usage = extract_token_usage(call.answers[-1], call.place.provider)
    arguments = _replaced(asked, text_of(_text_tokens(usage)))
    limited = arguments | ({most: usage.tokens_out} if most else {})
    unlimited = {name: value for name, value in arguments.items() if name != most}
    model = str(asked["model"])
    wait_until_ready(model, lambda: _PATIENCE_SECONDS)

    def estimate(given: Mapping[str, Any], *, counted: bool = False) -> CusEstimate | None:
        return estimate_call(operation, model, given, own_prices=False, counted=counted)

    found = [estimate(limited), estimate(limited, counted=True), estimate(unlimited)]
    if any(one is None or one.microcents is None for one in found):
        return Left(call, "a model that the SDK's table does not know: the server estimates it")
    by_bytes, by_tokenizer, unbounded = (one for one in found if one is not None)
    tokens = usage.tokens_in + usage.tokens_out
    return Estimated(call, microcents(call.bills), tokens, by_bytes, by_tokenizer, unbounded)


def every_call() -> Iterator[tuple[str, Estimated | Left]]:
    """The family and the estimates of each call; of a call that is also streamed, the whole one."""
    for family, calls in ANSWERED.items():
        for call in calls:
            if not call.is_streamed and len(call.steps) == 1:
                yield family, estimated(call)


def ratio(estimate: CusEstimate, billed: int) -> float:
    """The estimate by what was billed: 1 is exact, below 1 is too low."""
    return (estimate.microcents or 0) / max(billed, 1)


def without_limits_of_time(set_: Callable[[Any, str, Any], None] = setattr) -> None:
    """Let estimates take their time: what they are worth does not depend on this machine's load."""
    set_(estimates, "_LOOKING_SECONDS", _PATIENCE_SECONDS)
    set_(counting, "COUNTING_SECONDS", _PATIENCE_SECONDS)
    set_(counting, "_MOST_CHARACTERS", 10_000_000)
    for model in _TOKENIZERS:
        wait_until_ready(model, lambda: _PATIENCE_SECONDS)


@cache
def text_of(tokens: int) -> str:
    """English prose of so many tokens."""
    encoding = encoding_for(_TOKENIZER)
    assert encoding is not None
    sentence = encoding.encode(_PROSE)
    whole, rest = divmod(max(tokens, 0), len(sentence))
    return encoding.decode([*(sentence * whole), *sentence[:rest]])


def _text_tokens(usage: CusReportedUsage) -> int:
    return usage.tokens_in - usage.tokens_audio_in - usage.tokens_image_in


def _replaced(value: Any, text: str) -> Any:
    """The value with `text` in place of the corpus' prompt, wherever that stands."""
    if value == PROMPT:
        return text
    if isinstance(value, Mapping):
        return {name: _replaced(one, text) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(one, text) for one in value]
    return value


def sections() -> list[Section]:
    """The tables that the command prints."""
    found = list(every_call())
    rows: list[Sequence[str]] = [
        _row(name, [one for family, one in found if family == name]) for name in ANSWERED
    ]
    rows.append(_row("all", [one for _, one in found]))
    low: list[Sequence[str]] = [
        (one.call.name, f"{ratio(one.by_bytes, one.billed):.2f}", BEYOND.get(one.call.name, "?"))
        for one in below_their_bill([one for _, one in found])
    ]
    lengths: list[Sequence[str]] = [
        (kind, *map(_bytes_a_token(text), _TOKENIZERS)) for kind, text in _TEXTS.items()
    ]
    return [
        Section("Estimate / bill: lowest, median, highest, without the calls of the next table",
                ("calls", "estimated", "left to the server", "by bytes", "by tokenizer",
                 "without max_tokens"), rows),
        Section("Estimates below the bill, by bytes",
                ("call", "estimate / bill", "what the request does not bound"), low),
        Section("Bytes a token: how much the bound exceeds the tokens of a text",
                ("text", *_TOKENIZERS), lengths),
    ]  # fmt: skip


def below_their_bill(found: Sequence[Estimated | Left]) -> list[Estimated]:
    """The calls that billed more than their bound."""
    every = (one for one in found if isinstance(one, Estimated))
    return [one for one in every if ratio(one.by_bytes, one.billed) < 1]


def spread(those: Sequence[Estimated], way: str) -> tuple[float, float, float]:
    """The lowest, median and highest ratio of those that their requests bound."""
    bounded = [one for one in those if one.call.name not in BEYOND]
    ratios = [ratio(getattr(one, way), one.billed) for one in bounded]
    return min(ratios), median(ratios), max(ratios)


def _row(name: str, found: Sequence[Estimated | Left]) -> tuple[str, ...]:
    those = [one for one in found if isinstance(one, Estimated)]
    ways = ("by_bytes", "by_tokenizer", "unbounded")
    shown = (", ".join(f"{part:.2f}" for part in spread(those, way)) for way in ways)
    return (name, f"{len(those)}", f"{len(found) - len(those)}", *shown)


def _bytes_a_token(text: str) -> Callable[[str], str]:
    def shown(model: str) -> str:
        encoding = encoding_for(model)
        assert encoding is not None
        return f"{len(text.encode()) / len(encoding.encode(text)):.1f}"

    return shown


def main() -> int:
    """Print the tables."""
    without_limits_of_time()
    console = new_console()
    for section in sections():
        section.show(console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
