"""The server's side of a WebSocket (RFC 6455), as far as a client that sends texts needs it."""

import base64
import hashlib
import struct
from collections.abc import Iterator
from io import BufferedIOBase
from typing import Final

_GUID: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT: Final = 0x1
_CLOSE: Final = 0x8
_PING: Final = 0x9
_PONG: Final = 0xA


def accept_key(key: str) -> str:
    """The header `Sec-WebSocket-Accept` that answers a client's key."""
    digest = hashlib.sha1(f"{key}{_GUID}".encode(), usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def texts(reading: BufferedIOBase, writing: BufferedIOBase) -> Iterator[str]:
    """The texts that the client sends until it closes; its pings are answered."""
    text = b""
    while True:
        is_last, opcode, payload = _frame(reading)
        if opcode == _CLOSE:
            _send(writing, _CLOSE, payload)
            return
        if opcode == _PING:
            _send(writing, _PONG, payload)
        if opcode not in (0, _TEXT):
            continue
        text += payload
        if is_last:
            yield text.decode()
            text = b""


def send_text(writing: BufferedIOBase, text: str) -> None:
    """Send one message."""
    _send(writing, _TEXT, text.encode())


def _frame(reading: BufferedIOBase) -> tuple[bool, int, bytes]:
    head = reading.read(2)
    if len(head) < 2:  # The client has gone without a word.
        return True, _CLOSE, b""
    length = head[1] & 0x7F
    if length == 126:
        (length,) = struct.unpack(">H", reading.read(2))
    elif length == 127:
        (length,) = struct.unpack(">Q", reading.read(8))
    mask = reading.read(4)
    masked = reading.read(length)
    payload = bytes(byte ^ mask[index % 4] for index, byte in enumerate(masked))
    return bool(head[0] & 0x80), head[0] & 0x0F, payload


def _send(writing: BufferedIOBase, opcode: int, payload: bytes) -> None:
    length = len(payload)
    if length < 126:
        head = struct.pack(">BB", 0x80 | opcode, length)
    elif length < 65_536:
        head = struct.pack(">BBH", 0x80 | opcode, 126, length)
    else:
        head = struct.pack(">BBQ", 0x80 | opcode, 127, length)
    writing.write(head + payload)
    writing.flush()
