"""A decoded copy of a body that the program reads in the encoding of the wire."""

import zlib
from typing import Final

_GZIP: Final = b"\x1f\x8b"
_OF_GZIP: Final = 16 + zlib.MAX_WBITS
_ZLIB_METHOD: Final = 8
_MAX_BYTES: Final = 64 * 1024 * 1024


class CusDecodedCopy:
    """Decodes a copy of the chunks of a body: gzip and zlib, by their first bytes; a body in no
    encoding stays as it is. Beyond 64 MiB, and after an error, nothing more is decoded.
    """

    def __init__(self) -> None:
        self._decoder: zlib._Decompress | None = None
        self._is_plain = False
        self._begun = b""
        self._left = _MAX_BYTES

    def take(self, chunk: bytes) -> bytes:
        """The text of the next chunk, as far as it can be decoded; raises nothing."""
        if self._is_plain:
            return chunk
        if self._decoder is None:
            self._begun += chunk
            if len(self._begun) < len(_GZIP):
                return b""
            chunk, self._begun = self._begun, b""
            if (window := _window_of(chunk)) is None:
                self._is_plain = True
                return chunk
            self._decoder = zlib.decompressobj(window)
        return self._decoded(self._decoder, chunk)

    def _decoded(self, decoder: "zlib._Decompress", chunk: bytes) -> bytes:
        if self._left <= 0:
            return b""
        try:
            text = decoder.decompress(chunk, self._left)
        except zlib.error:
            self._left = 0
            return b""
        self._left = 0 if decoder.unconsumed_tail else self._left - len(text)
        return text


def _window_of(begun: bytes) -> int | None:
    """What `zlib` needs to know of a body that begins so; None for a body in no encoding."""
    if begun.startswith(_GZIP):
        return _OF_GZIP
    is_zlib = begun[0] & 0x0F == _ZLIB_METHOD and int.from_bytes(begun[:2], "big") % 31 == 0
    return zlib.MAX_WBITS if is_zlib else None
