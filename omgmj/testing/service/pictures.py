"""The pictures of make-believe tasks: real PNGs of some hundred pixels, a grid of four or a single one.

Pure: what is drawn comes from the task's image ID alone. A single picture is a grid's quarter in twice the size, so
that what cuts a grid and what asks for an upscale come to the same.
"""

from __future__ import annotations

import colorsys
import functools
import random
import struct
import uuid
import zlib

LONGEST = 256
"""Pixels of a picture's longer side."""
PREVIEW = 64
"""The same, while the task runs."""
_CELLS = 8
"""Fields of one colour in a row or a column of a quarter."""
_KEPT = 64
"""Pictures that are kept, of some kilobytes each; any other is drawn again when it is asked for."""


@functools.lru_cache(_KEPT)
def draw(image: uuid.UUID, quarter: int | None, aspect: tuple[int, int], longest: int = LONGEST) -> bytes:
    """Return the PNG of the grid `image`, or of one `quarter` of it, from 1, in the grid's size."""
    width, height = _size(aspect, longest)
    rows = [[1, 2], [3, 4]] if quarter is None else [[quarter]]
    across, down = width // len(rows), height // len(rows)
    lines = []
    for row in rows:
        quarters = [_cells(image, number) for number in row]
        drawn = [
            b"\0" + b"".join(cells[y][x * _CELLS // across] for cells in quarters for x in range(across))
            for y in range(_CELLS)
        ]
        lines += [drawn[y * _CELLS // down] for y in range(down)]
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    content = zlib.compress(b"".join(lines), 6)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", content) + _chunk(b"IEND", b"")


def _size(aspect: tuple[int, int], longest: int) -> tuple[int, int]:
    """Return width and height in pixels: even numbers, so that a grid is cut without a rest."""
    width, height = (max(longest * side // max(aspect), 2 * _CELLS) // 2 * 2 for side in aspect)
    return width, height


def _cells(image: uuid.UUID, quarter: int) -> list[list[bytes]]:
    """Return the colours of a quarter's fields; the four of a grid are a quarter of the colour wheel apart."""
    chance = random.Random(f"picture {image} {quarter}")
    hue = image.int % 997 / 997 + quarter / 4
    return [
        [_colour(hue, chance.uniform(0.4, 0.9), chance.uniform(0.4, 1.0)) for _ in range(_CELLS)] for _ in range(_CELLS)
    ]


def _colour(hue: float, saturation: float, value: float) -> bytes:
    return bytes(round(255 * part) for part in colorsys.hsv_to_rgb(hue % 1, saturation, value))


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
