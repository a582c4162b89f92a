"""Counting here what no provider has told: in time, told apart, and counted again by the sender (T3)."""

import os
import random
import threading
from collections.abc import Callable, Iterator
from itertools import count, repeat
from pathlib import Path
from typing import Any

import pytest

from aos_sdk import CusReporter, calculate_cost, count_message_tokens, count_tokens
from aos_sdk import cus_token_counter as counter
from aos_sdk.cus_cost import CusTokenUsage
from aos_sdk.cus_counting.approximation import approximate_tokens
from aos_sdk.cus_counting.estimates import MOST_KEPT_BYTES, CusRecount, count_call
from aos_sdk.cus_counting.exact import (
    PIECE_CHARACTERS,
    CusCountingEnded,
    CusTokenizerFailed,
    count_pieces,
    pieces_of,
)
from aos_sdk.cus_delivery import recounts as cus_recounts
from aos_sdk.cus_delivery.buffer import CusMemoryBuffer
from aos_sdk.cus_delivery.ended_call import CusEndedCall
from aos_sdk.cus_delivery.recounts import CusRecounts
from aos_sdk.cus_guard import never_raise
from tests.sdk.conftest import MakeReporter
from tests.sdk.cus_fake_servers import CusFakeCollector

MODEL = "gpt-4o"
CHINESE = "\u5927\u578b\u8bed\u8a00\u6a21\u578b\u80fd\u591f\u7406\u89e3\u6587\u672c" * 10_000
SECRET = "the password of the moon is cheese, "
# More than is counted in the caller's time, whatever the machine.
LONG = SECRET * 6_000


@pytest.fixture(autouse=True)
def _ready_to_count_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    counter.make_ready(MODEL)
    monkeypatch.setattr("aos_sdk.cus_counting.estimates.COUNTING_SECONDS", 0.003)


def _prompt(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def _stopped() -> Callable[[], float]:
    """A clock that stands still: there is all the time in the world."""
    return repeat(0.0).__next__


def _running(seconds: float) -> Callable[[], float]:
    """A clock that goes on by so much whenever it is looked at."""
    return count(0.0, seconds).__next__


# The bound.


def test_what_is_counted_in_time_is_exact_and_says_so() -> None:
    text = "How much is twice two? " * 2_000
    counted = count_call(_prompt(text), "Four.", MODEL, clock=_stopped())
    expected = count_message_tokens(_prompt(text)["messages"], MODEL)
    assert counted.usage == CusTokenUsage(expected, count_tokens("Four.", MODEL))
    assert (counted.counted_by, counted.recount) == ("tokenizer", None)


@pytest.mark.parametrize("text", [LONG[:60_000], CHINESE[:8_000], LONG])
def test_what_takes_longer_is_approximated_and_can_be_counted_again(text: str) -> None:
    counted = count_call(_prompt(text), text, MODEL, clock=_running(0.001))
    assert counted.counted_by == "approximation"
    exact = count_message_tokens(_prompt(text)["messages"], MODEL)
    assert counted.usage.tokens_in != exact
    assert counted.usage.tokens_in == pytest.approx(exact, rel=0.5)
    assert counted.recount is not None
    again = counted.recount.usage(lambda: 60.0)
    assert again == CusTokenUsage(exact, count_tokens(text, MODEL))


def test_a_hundred_thousand_characters_of_chinese_are_not_a_quarter_as_many_tokens() -> None:
    counted = count_call(_prompt(CHINESE), "", MODEL, clock=_running(0.001))
    assert counted.counted_by == "approximation"
    assert counted.usage.tokens_in == pytest.approx(count_tokens(CHINESE, MODEL), rel=0.55)


def test_a_long_word_is_not_begun_in_the_callers_time() -> None:
    counted = count_call(_prompt("x" * 20_000), "", MODEL, clock=_stopped())
    assert counted.counted_by == "approximation"
    assert counted.recount is not None


def test_a_prompt_with_more_parts_than_there_is_time_for_is_told_by_its_beginning() -> None:
    messages = [{"role": "user", "content": "How much is twice two?"}] * 1_000
    counted = count_call({"messages": messages}, "", MODEL, clock=_running(0.0001))
    assert (counted.counted_by, counted.recount) == ("approximation", None)
    exact = count_message_tokens(messages, MODEL)
    assert counted.usage.tokens_in == pytest.approx(exact, rel=0.3)


def test_a_model_without_a_tokenizer_is_approximated_for_good() -> None:
    counted = count_call(_prompt("Hello"), "Hi", "claude-opus-4")
    assert (counted.counted_by, counted.recount) == ("approximation", None)


def test_what_the_provider_has_told_stands() -> None:
    known = CusTokenUsage(tokens_in=1_000, tokens_out=5, tokens_cached=900)
    counted = count_call(_prompt(LONG), "one two three", MODEL, known)
    assert counted.usage == known
    longer = count_call(_prompt(LONG), "word " * 100, MODEL, known, clock=_stopped())
    assert longer.usage == known._replace(tokens_out=count_tokens("word " * 100, MODEL))


def test_texts_that_would_take_too_much_memory_do_not_wait() -> None:
    counted = count_call(_prompt("word " * MOST_KEPT_BYTES), "", MODEL)
    assert (counted.counted_by, counted.recount) == ("approximation", None)


def test_format_and_functions_of_a_request_are_counted() -> None:
    plain = count_call(_prompt("Hi"), "", MODEL, clock=_stopped()).usage.tokens_in
    schema = {"type": "json_schema", "name": "City", "schema": {"type": "object"}}
    for more in (
        {"response_format": {"type": "json_schema", "json_schema": schema}},
        {"text": {"format": schema}},
        {"output_format": schema},
        {"functions": [{"name": "stop"}]},
    ):
        request = {**_prompt("Hi"), **more}
        assert count_call(request, "", MODEL, clock=_stopped()).usage.tokens_in > plain


# The first second of a process.


@pytest.fixture
def cold(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has not counted yet."""
    monkeypatch.setattr(counter, "_ready", set())
    monkeypatch.setattr(counter, "_loading", {})


@pytest.mark.usefixtures("cold")
def test_the_first_count_waits_for_no_encoding_and_comes_out_the_same_in_the_end() -> None:
    text = CHINESE[:1_080]
    first = count_call(_prompt(text), text, MODEL, clock=_stopped())
    assert first.counted_by == "approximation"
    assert first.recount is not None
    in_the_end = first.recount.usage(lambda: 60.0)
    later = count_call(_prompt(text), text, MODEL, clock=_stopped())
    assert (later.counted_by, later.usage) == ("tokenizer", in_the_end)


@pytest.mark.usefixtures("cold")
def test_an_encoding_is_not_waited_for_when_time_is_over_or_it_cannot_be_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loads, cannot_load = threading.current_thread(), threading.Thread()
    for loader, seconds_left in ((loads, 0.0), (cannot_load, 60.0)):
        monkeypatch.setattr(counter, "_loading", {MODEL: loader})
        first = count_call(_prompt("Hello"), "", MODEL)
        assert first.recount is not None
        assert first.recount.usage(repeat(seconds_left).__next__) is None


@pytest.mark.usefixtures("cold")
def test_count_tokens_loads_what_it_needs_and_is_the_same_at_once() -> None:
    assert count_tokens(CHINESE[:1_080], MODEL) == count_tokens(CHINESE[:1_080], MODEL)
    assert count_tokens("hello world", MODEL) == 2


# Pieces.


def _texts() -> Iterator[str]:
    chance = random.Random(7)
    words = ["the", "don't", "na\u00efve", " ", "  \n", "12", "x9", "\u4f60\u597d\uff0c", "\u3002"]
    words += [
        "_a",
        "'s",
        "---",
        "A",
        "\u00b2",
        "caf\u00e9.",
        "\u0939\u093f\u0928\u094d",
        "\U0001f389",
    ]
    for _ in range(60):
        yield "".join(chance.choices(words, k=chance.randrange(2_000, 6_000)))


@pytest.mark.parametrize("model", ["gpt-4", "gpt-4o"])
def test_the_pieces_of_a_text_count_as_the_text_does(model: str) -> None:
    encoding = counter.encoding_for(model)
    assert encoding is not None
    cut = 0
    for text in _texts():
        pieces = list(pieces_of(text))
        cut += len(pieces) > 1
        assert "".join(pieces) == text
        assert count_pieces(encoding, pieces) == len(encoding.encode_ordinary(text))
    assert cut > 50


def test_a_text_that_cannot_be_cut_short_enough_is_said_to_be_one() -> None:
    with pytest.raises(CusCountingEnded):
        list(pieces_of("x" * 10 * PIECE_CHARACTERS, longest=2 * PIECE_CHARACTERS))
    assert len(list(pieces_of("x" * 10 * PIECE_CHARACTERS))) == 1


# What the tokenizer does not survive.


class _Failing:
    def __init__(self, error: BaseException) -> None:
        self._error = error

    def encode_ordinary(self, _: str) -> list[int]:
        raise self._error


_PANIC = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})


@pytest.mark.parametrize("error", [_PANIC("overflow"), MemoryError(), RecursionError()])
def test_a_text_that_the_tokenizer_fails_on_is_approximated(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing: Any = _Failing(error)
    with pytest.raises(CusTokenizerFailed):
        count_pieces(failing, ["text"])
    monkeypatch.setattr(counter, "encoding_for", lambda model: failing)
    monkeypatch.setattr("aos_sdk.cus_counting.estimates.encoding_for", lambda model: failing)
    assert count_tokens("x" * 400, MODEL) == 100
    assert count_call(_prompt("x" * 400), "", MODEL).counted_by == "approximation"


def test_a_million_spaces_on_which_tiktoken_panics_raise_nothing() -> None:
    assert count_tokens(" " * 1_000_000, MODEL) > 0


def test_ctrl_c_ends_a_count() -> None:
    failing: Any = _Failing(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        count_pieces(failing, ["text"])


# The approximation.

SAMPLES = {
    "English": "The quick brown fox jumps over the lazy dog and then sleeps in the sun. " * 40,
    "Chinese": "\u5927\u578b\u8bed\u8a00\u6a21\u578b\u80fd\u591f\u7406\u89e3\u548c\u751f\u6210\u6587\u672c\u3002"
    * 40,
    "Japanese": "\u3053\u3093\u306b\u3061\u306f\u3001\u4eca\u65e5\u306f\u3044\u3044\u5929\u6c17\u3067\u3059\u306d\u3002"
    * 40,
    "Russian": "\u0411\u044b\u0441\u0442\u0440\u0430\u044f \u043a\u043e\u0440\u0438\u0447\u043d\u0435\u0432\u0430\u044f \u043b\u0438\u0441\u0430 \u043f\u0440\u044b\u0433\u0430\u0435\u0442 \u0447\u0435\u0440\u0435\u0437 \u0441\u043e\u0431\u0430\u043a\u0443. "
    * 40,
    "emoji": "".join(map(chr, range(0x1F300, 0x1F500))),
    "code": Path(counter.__file__).read_text(),
    "base64": "TWFuIGlzIGRpc3Rpbmd1aXNoZWQsIG5vdCBvbmx5IGJ5IGhpcyByZWFzb24x" * 40,
    "digits": "31415926535897932384626433832795028841971693993751" * 40,
}


@pytest.mark.parametrize("script", SAMPLES)
@pytest.mark.parametrize("model", ["gpt-4", "gpt-4o"])
def test_the_approximation_is_near_in_every_script(script: str, model: str) -> None:
    text = SAMPLES[script]
    approximate = approximate_tokens((text,), counter.encoding_name(model))
    assert approximate == pytest.approx(count_tokens(text, model), rel=0.5)


def test_the_approximation_goes_by_all_of_a_long_prompt() -> None:
    texts = [SAMPLES["English"] * 20, SAMPLES["Chinese"] * 20, "", "short"]
    each = sum(approximate_tokens((text,)) for text in texts)
    assert approximate_tokens(texts) == pytest.approx(each, rel=0.1)
    assert approximate_tokens(()) == approximate_tokens(("",)) == 0


# The sender's side.


def _report_long(reporter: CusReporter, text: str = LONG) -> int:
    """Report a call that is approximated; say what it has been counted as."""
    with reporter.track_call("openai", MODEL) as call:
        count = count_call(_prompt(text), text, MODEL)
        call.set_local_count(count)
    return count.usage.tokens_in


@pytest.fixture(params=["ring", "memory"])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "memory":
        monkeypatch.setenv("CUS_SPOOL_DIR", "off")
    return str(request.param)


@pytest.mark.usefixtures("mode")
def test_the_sender_counts_before_it_sends_and_prices_anew(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    reporter = make_reporter()
    approximated = _report_long(reporter)
    assert reporter.flush(60.0) == 0
    (row,) = collector.stored.values()
    tokens_in = count_message_tokens(_prompt(LONG)["messages"], MODEL)
    tokens_out = count_tokens(LONG, MODEL)
    assert tokens_in != approximated
    assert (row["tokens_in"], row["tokens_out"]) == (tokens_in, tokens_out)
    assert row["cost_cents"] == calculate_cost(MODEL, tokens_in, tokens_out)
    assert row["metadata"] == {"tokens_estimated": True, "tokens_counted_by": "tokenizer"}
    assert reporter.stats.faults == 0


@pytest.mark.usefixtures("mode")
def test_what_is_sent_again_is_what_was_sent_before(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    collector.script.extend([(500, {}), (503, {})])
    reporter = make_reporter()
    _report_long(reporter)
    assert reporter.flush(60.0) == 0
    sent = [record for batch in collector.batches for record in batch]
    assert len(sent) > 1
    assert all(record == sent[0] for record in sent)
    assert sent[0]["metadata"]["tokens_counted_by"] == "tokenizer"


def test_no_text_that_waits_to_be_counted_is_in_the_spool(
    make_reporter: MakeReporter, collector: CusFakeCollector, tmp_path: Path
) -> None:
    reporter = make_reporter(batch_interval=3_600.0)
    _report_long(reporter)
    rings = [file.read_bytes() for file in (tmp_path / "spool").rglob("*.ring")]
    assert len(rings) == 1
    assert b"password" not in rings[0]
    assert b'"tokens_counted_by":"approximation"' in rings[0]


@pytest.mark.usefixtures("mode")
def test_whoever_waits_for_a_flush_does_not_wait_for_counts(
    make_reporter: MakeReporter, collector: CusFakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aos_sdk.cus_delivery.sender._RECOUNTING_SHARE", 0.0)
    reporter = make_reporter(batch_interval=3_600.0)
    approximated = _report_long(reporter)
    assert reporter.flush(60.0) == 0
    (row,) = collector.stored.values()
    assert row["tokens_in"] == approximated
    assert row["metadata"]["tokens_counted_by"] == "approximation"


@pytest.mark.usefixtures("mode")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_holds_no_text_of_its_parents(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    reporter = make_reporter(batch_interval=3_600.0)
    _report_long(reporter)
    sender: Any = reporter._sender
    assert len(sender.recounts) == 1
    if not (child := os.fork()):
        os._exit(len(sender.recounts))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(sender.recounts) == 1


def test_a_call_within_another_is_counted_again_as_that_other(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    reporter = make_reporter()
    with reporter.track_call("openai", MODEL, call_id="outer"):
        _report_long(reporter)
    assert reporter.flush(60.0) == 0
    (row,) = collector.stored.values()
    assert row["call_id"] == "outer"
    assert row["metadata"]["tokens_counted_by"] == "tokenizer"
    assert row["tokens_out"] == count_tokens(LONG, MODEL)


class _Recount:
    """A call's texts, and whether they have been counted."""

    def __init__(self, size_bytes: int = 10, error: Exception | None = None) -> None:
        self.size_bytes = size_bytes
        self._error = error

    def usage(self, seconds_left: Callable[[], float]) -> CusTokenUsage | None:
        if self._error is not None:
            raise self._error
        return CusTokenUsage(7, 7) if seconds_left() > 0 else None


def _call(call_id: str | None, recount: _Recount) -> CusEndedCall:
    call = CusEndedCall()
    call.reporter = CusReporter()
    call.call_id = call_id
    call.model, call.provider, call.operation = MODEL, None, None
    call.session_id = call.agent_id = None
    call.started_at = 0
    call.usage = CusTokenUsage(1, 1)
    call.metadata = {"tokens_counted_by": "approximation"}
    call.recount = recount
    return call


def _sent(recounts: CusRecounts, *calls: CusEndedCall) -> list[int]:
    """The tokens that records of these calls would be sent with."""
    buffer = CusMemoryBuffer(10)
    for call in calls:
        recounts.keep(call)
        buffer.append(call)
    entries = recounts.applied(buffer.take(10), buffer)
    assert entries == buffer.take(10)
    return [entry.to_dict()["tokens_in"] for entry in entries]


@pytest.fixture
def faults() -> list[None]:
    return []


@pytest.fixture
def recounts(faults: list[None]) -> CusRecounts:
    return CusRecounts(never_raise(count=lambda: faults.append(None)))


def test_the_oldest_texts_make_room_for_newer_ones(
    recounts: CusRecounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cus_recounts, "MOST_BYTES", 25)
    calls = [_call(name, _Recount()) for name in "abc"]
    assert _sent(recounts, *calls, _call("large", _Recount(26))) == [1, 7, 7, 1]
    monkeypatch.setattr(cus_recounts, "MOST_CALLS", 1)
    assert _sent(recounts, _call("d", _Recount()), _call("e", _Recount())) == [1, 7]
    assert len(recounts) == 0


def test_a_call_without_a_name_is_found_again(recounts: CusRecounts) -> None:
    assert _sent(recounts, _call(None, _Recount())) == [7]


def test_a_call_that_the_program_keeps_holds_no_text(recounts: CusRecounts) -> None:
    call = _call("a", _Recount())
    recounts.keep(call)
    assert call.recount is None


def test_a_count_that_fails_costs_nothing_but_the_count(
    recounts: CusRecounts, faults: list[None]
) -> None:
    assert _sent(recounts, _call("a", _Recount(error=ValueError())), _call("b", _Recount())) == [
        1,
        7,
    ]
    assert len(faults) == 1


def test_time_is_short_only_while_somebody_waits(recounts: CusRecounts) -> None:
    with recounts.hurry(60.0), recounts.hurry(0.0):
        assert _sent(recounts, _call("a", _Recount())) == [1]
    assert _sent(recounts, _call("b", _Recount())) == [7]


def test_texts_of_records_that_were_dropped_are_forgotten(recounts: CusRecounts) -> None:
    recounts.keep(_call("dropped", _Recount()))
    recounts.forget_old()
    assert len(recounts) == 1  # its record may be about to be stored
    recounts.keep(_call("young", _Recount()))
    recounts.forget_old()
    assert len(recounts) == 1
    recounts.forget_old()
    assert len(recounts) == 0


def test_a_call_may_be_kept_while_the_sender_counts(recounts: CusRecounts) -> None:
    started, done = threading.Event(), threading.Event()

    class Slow(_Recount):
        def usage(self, seconds_left: Callable[[], float]) -> CusTokenUsage | None:
            started.set()
            assert done.wait(10.0)
            return super().usage(seconds_left)

    found: list[int] = []
    slow = _call("slow", Slow())
    sender = threading.Thread(target=lambda: found.extend(_sent(recounts, slow)))
    sender.start()
    assert started.wait(10.0)
    recounts.keep(_call("other", _Recount()))
    done.set()
    sender.join()
    assert found == [7]


def test_a_recount_tells_what_memory_it_takes() -> None:
    counted = count_call(_prompt(LONG), "x" * 1_000, MODEL)
    assert isinstance(counted.recount, CusRecount)
    assert len(LONG) + 1_000 <= counted.recount.size_bytes < len(LONG) + 2_000
