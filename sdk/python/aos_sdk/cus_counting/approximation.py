"""How many tokens texts have, by their scripts and kinds of characters, where no tokenizer counts.

English prose has about four characters a token. Other scripts, digits, code and encoded data have
fewer. The rates were measured with tiktoken on the translations of a large program and on source
code; `docs/sdk.md` has their errors. The same texts always give the same number.
"""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import Final, NamedTuple

# Longer texts are judged by windows of them, spread evenly: a millisecond, whatever the length.
_WINDOWS: Final = 32
_WINDOW: Final = 128
_WHOLE: Final = _WINDOWS * _WINDOW

_PER_ASCII: Final = 0.25
# What an encoded character (base64, hexadecimal, identifiers with digits) is in tokens.
_PER_ENCODED: Final = 0.65
# Prose has up to a tenth of punctuation, which its quarter of a token covers. More of it is code.
_PROSE_PUNCTUATION: Final = 0.1
_MORE_FOR_PUNCTUATION: Final = 0.4

_LONG_WORDS: Final = re.compile(r"[A-Za-z0-9+/=_-]{24,}")
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]+")
_DIGITS: Final = re.compile(r"[0-9]{1,3}")
_PUNCTUATION: Final = re.compile(r"[!-/:-@\[-`{-~]")


class _Script(NamedTuple):
    """Tokens a character of a range that ends before `end`, in either encoding of OpenAI's."""

    end: int
    newer: float
    older: float


_SCRIPTS: Final = (
    _Script(0x0370, 0.75, 1.7),  # Latin beyond ASCII
    _Script(0x0400, 0.4, 1.05),  # Greek
    _Script(0x0530, 0.35, 0.58),  # Cyrillic
    _Script(0x0590, 0.38, 2.1),  # Armenian
    _Script(0x0600, 0.45, 1.18),  # Hebrew
    _Script(0x0900, 0.34, 0.88),  # Arabic
    _Script(0x0980, 0.38, 1.2),  # Devanagari
    _Script(0x0E00, 0.44, 1.8),  # other scripts of India
    _Script(0x1000, 0.45, 1.05),  # Thai, Lao, Tibetan
    _Script(0x10A0, 0.6, 2.1),  # Myanmar
    _Script(0x1100, 0.36, 2.1),  # Georgian
    _Script(0x1200, 0.7, 1.1),  # Hangul's parts
    _Script(0x1400, 2.2, 3.0),  # Ethiopic
    _Script(0x1E00, 0.63, 1.7),  # Khmer and others
    _Script(0x2000, 0.75, 1.7),  # Latin and Greek, extended
    _Script(0x2E80, 0.9, 1.2),  # punctuation and symbols
    _Script(0x3040, 0.7, 1.0),  # punctuation of East Asia
    _Script(0x3400, 0.6, 0.95),  # Hiragana and Katakana
    _Script(0xA000, 0.7, 1.2),  # Chinese characters
    _Script(0xAC00, 1.5, 2.5),  # other scripts
    _Script(0xD7B0, 0.7, 1.1),  # Hangul
    _Script(0xFF00, 1.5, 2.5),  # surrogates, private use, forms of Arabic
    _Script(0x10000, 0.9, 1.2),  # wide forms
    _Script(0x110000, 2.1, 2.6),  # emoji, and what is rare
)
_ENDS: Final = [script.end for script in _SCRIPTS]
_OLDER: Final = "cl100k_base"


def approximate_tokens(texts: Sequence[str], encoding: str | None = None) -> int:
    """About how many tokens these texts have together; 0 for none.

    `encoding` is tiktoken's name of the model's encoding. All but `cl100k_base`, and models of
    which none is known, count as `o200k_base` does.
    """
    length = sum(map(len, texts))
    if not length:
        return 0
    sample = "".join(texts) if length <= _WHOLE else _sample(texts, length)
    return int(_tokens(sample, older=encoding == _OLDER) * length / len(sample))


def _sample(texts: Sequence[str], length: int) -> str:
    ends = list(accumulate(map(len, texts)))
    windows = []
    for number in range(_WINDOWS):
        position = number * length // _WINDOWS
        place = bisect_right(ends, position)
        start = position - ends[place] + len(texts[place])
        windows.append(texts[place][start : start + _WINDOW])
    return "".join(windows)


def _tokens(text: str, *, older: bool) -> float:
    # Each run of other characters leaves a space, so that the digits beside it do not look like one.
    plain, spaces = _NOT_ASCII.subn(" ", text)
    total = 0.0
    for character, number in Counter(text).items() if spaces else ():
        if not character.isascii():
            script = _SCRIPTS[bisect_right(_ENDS, ord(character))]
            total += number * (script.older if older else script.newer)
    return total + max(0.0, _ascii_tokens(plain) - spaces * _PER_ASCII)


def _ascii_tokens(text: str) -> float:
    encoded = [word for word in _LONG_WORDS.findall(text) if _is_encoded(word)]
    for word in encoded:
        text = text.replace(word, "", 1)
    digits = _DIGITS.findall(text)
    letters = len(text) - sum(map(len, digits))
    punctuation = len(_PUNCTUATION.findall(text)) - _PROSE_PUNCTUATION * len(text)
    total = sum(map(len, encoded)) * _PER_ENCODED + len(digits) + letters * _PER_ASCII
    return total + max(0.0, punctuation) * _MORE_FOR_PUNCTUATION


def _is_encoded(word: str) -> bool:
    return any(map(str.isdigit, word)) and any(map(str.isalpha, word))
