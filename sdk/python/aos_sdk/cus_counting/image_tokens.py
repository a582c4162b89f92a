"""How many tokens an image is, by the rules that OpenAI and Anthropic publish.

OpenAI's older models cut an image into tiles of 512 pixels, its newer and its smaller ones into
patches of 32 at a multiple of a token each; Anthropic goes by the area. An image whose size is not
known counts as the largest.
"""

import base64
import binascii
import math
import struct
from typing import Final, NamedTuple

_LARGEST: Final = (2048, 2048)
# An image says its size near its beginning; this much base64 covers long camera metadata.
_HEADER_CHARACTERS: Final = 256 * 1024


class _Tiles(NamedTuple):
    base: int
    tile: int


class _Patches(NamedTuple):
    hundredths: int
    budget: int


_TILES: Final = {
    "gpt-4-turbo": _Tiles(85, 170),
    "gpt-4-vision-preview": _Tiles(85, 170),
    "gpt-4.1": _Tiles(85, 170),
    "gpt-4.5-preview": _Tiles(85, 170),
    "gpt-4o": _Tiles(85, 170),
    "gpt-4o-2024-05-13": _Tiles(85, 170),
    "chatgpt-4o-latest": _Tiles(85, 170),
    "gpt-4o-mini": _Tiles(2833, 5667),
    "gpt-5": _Tiles(70, 140),
    "gpt-5.1": _Tiles(70, 140),
    "o1": _Tiles(75, 150),
    "o1-pro": _Tiles(75, 150),
    "o3": _Tiles(75, 150),
    "o3-pro": _Tiles(75, 150),
    "computer-use-preview": _Tiles(65, 129),
}
_PATCHES: Final = {
    "gpt-4.1-mini": _Patches(162, 1_536),
    "gpt-4.1-nano": _Patches(246, 1_536),
    "o4-mini": _Patches(172, 1_536),
    "codex-mini": _Patches(172, 1_536),
    "gpt-5-mini": _Patches(162, 1_536),
    "gpt-5-nano": _Patches(246, 1_536),
    "gpt-5.4-mini": _Patches(162, 1_536),
    "gpt-5.4-nano": _Patches(246, 1_536),
    "gpt-5.2": _Patches(120, 1_536),
    "gpt-5.3-codex": _Patches(120, 1_536),
}
_NEWER: Final = _Patches(120, 2_500)
_ANTHROPIC_MAXIMUM: Final = 1_600


def image_tokens(
    provider: str, model: str, size: tuple[int, int] | None, detail: str | None
) -> int:
    """The tokens of an image of so many pixels (width, height; None if unknown) for a model.

    `model` is the table's name. `detail` is `low`, `high` or `auto` (which counts as high); models
    that work in patches bill an image by its size whatever it says.
    """
    width, height = size or _LARGEST
    if provider == "anthropic":
        return min(-(-width * height // 750), _ANTHROPIC_MAXIMUM)
    if tiles := _TILES.get(model.removeprefix("ft:")):
        return tiles.base if detail == "low" else _tiled(width, height, tiles)
    patches = _PATCHES.get(model.removeprefix("ft:"), _NEWER)
    return -(-_patched(width, height, patches.budget) * patches.hundredths // 100)


def _tiled(width: int, height: int, tiles: _Tiles) -> int:
    """Shrunk to fit 2048 by 2048, then to a short side of 768, never enlarged."""
    scale = min(1, 2048 / max(width, height))
    scale = min(scale, 768 / min(width, height))
    across, down = (max(1, math.ceil(side * scale / 512 - 1e-9)) for side in (width, height))
    return tiles.base + tiles.tile * across * down


def _patched(width: int, height: int, budget: int) -> int:
    """Patches that cover the image, which is shrunk until they are within their budget."""
    across, down = -(-width // 32), -(-height // 32)
    if across * down <= budget:
        return across * down
    shrunk = math.sqrt(budget * 32 * 32 / (width * height))
    wide, high = width * shrunk / 32, height * shrunk / 32
    fit = min(max(1, math.floor(side)) / side for side in (wide, high))
    return min(math.ceil(wide * fit - 1e-9) * math.ceil(high * fit - 1e-9), budget)


def image_size(url: str) -> tuple[int, int] | None:
    """Width and height of an image in a `data:` URL, or None: nothing is ever fetched."""
    kind, _, encoded = url.partition(";base64,")
    if not kind.startswith("data:image/") or not encoded:
        return None
    return size_of_base64(encoded)


def size_of_base64(encoded: str) -> tuple[int, int] | None:
    """Width and height of a PNG, GIF, JPEG or WebP image, or None if it says none."""
    try:
        data = base64.b64decode(encoded[:_HEADER_CHARACTERS])
        size = _size(data)
    except (binascii.Error, ValueError, struct.error, IndexError):
        return None
    return size if size and min(size) > 0 else None


def _size(data: bytes) -> tuple[int, int] | None:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _pair(">II", data, 16)
    if data[:4] == b"GIF8":
        return _pair("<HH", data, 6)
    if data.startswith(b"\xff\xd8"):
        return _jpeg_size(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp_size(data)
    return None


def _pair(layout: str, data: bytes, offset: int) -> tuple[int, int]:
    first, second = struct.unpack_from(layout, data, offset)
    return first, second


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        # A start of frame; three of the sixteen codes mean something else.
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = _pair(">HH", data, position + 5)
            return width, height
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    chunk = data[12:16]
    if chunk == b"VP8X":
        return (
            int.from_bytes(data[24:27], "little") + 1,
            int.from_bytes(data[27:30], "little") + 1,
        )
    if chunk == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = _pair("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF
