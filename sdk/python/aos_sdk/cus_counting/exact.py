"""Counting texts by tiktoken, a piece at a time, so that a long count can be ended on time."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tiktoken import Encoding

# A piece of so many characters takes less than a millisecond, in any script.
PIECE_CHARACTERS: Final = 2_048
# Where every encoding of OpenAI's begins a new word, whatever stands around: after a letter and
# before a space or a mark other than an apostrophe (also a mark of Chinese), and between a Latin
# letter and a digit. So the counts of the pieces add up to the count of the text.
_BORDER: Final = re.compile(
    r"(?<=[^\W\d_])(?=[\s!-&(-/:-@\[-`{-~\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f])"
    r"|(?<=[A-Za-z])(?=[0-9])"
)


class CusCountingEnded(Exception):
    """A count was ended because its time was over."""


class CusTokenizerFailed(Exception):
    """The tokenizer cannot count a text: 400,000 spaces in a row, for example."""


def count_pieces(encoding: "Encoding", pieces: Iterable[str]) -> int:
    """The tokens of all pieces together. Raises CusTokenizerFailed.

    An error inside tiktoken's Rust code arrives as a `PanicException`, which is no `Exception`.
    """
    try:
        return sum(len(encoding.encode_ordinary(piece)) for piece in pieces)
    except CusCountingEnded:
        raise
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__module__ == "pyo3_runtime":
            message = f"tiktoken cannot count this text: {type(error).__name__}"
            raise CusTokenizerFailed(message) from None
        raise


def in_time(pieces: Iterable[str], is_over: Callable[[], bool]) -> Iterator[str]:
    """The pieces, as long as there is time. Raises CusCountingEnded where it is over."""
    for piece in pieces:
        if is_over():
            raise CusCountingEnded
        yield piece


def pieces_of(text: str, longest: int | None = None) -> Iterator[str]:
    """The text in pieces whose counts add up to its own.

    Raises CusCountingEnded for a text without a place to cut it within `longest` characters.
    """
    start, end = 0, len(text)
    while end - start > PIECE_CHARACTERS:
        until = end if longest is None else min(end, start + longest)
        border = _BORDER.search(text, start + PIECE_CHARACTERS, until)
        if border is None:
            if until < end:
                raise CusCountingEnded
            break
        yield text[start : border.start()]
        start = border.start()
    yield text[start:]
