"""A PNG decoder of a few lines, to look at the make-believe pictures without a library."""

from __future__ import annotations

import struct
import zlib

Pixels = list[bytes]
"""Rows of three bytes a pixel."""


def chunks(content: bytes) -> dict[str, bytes]:
    """Return a PNG's chunks by name, each checksum checked."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    found, at = {}, 8
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        chunk = content[at + 4 : at + 8 + length]
        assert struct.unpack(">I", content[at + 8 + length : at + 12 + length]) == (zlib.crc32(chunk),)
        found[chunk[:4].decode()] = chunk[4:]
        at += 12 + length
    return found


def decode(content: bytes) -> Pixels:
    """Return the rows of a PNG in RGB without filters."""
    found = chunks(content)
    assert list(found) == ["IHDR", "IDAT", "IEND"]
    width, height, *kind = struct.unpack(">IIBBBBB", found["IHDR"])
    assert kind == [8, 2, 0, 0, 0]
    raw = zlib.decompress(found["IDAT"])
    size = 1 + 3 * width
    rows = [raw[y * size : (y + 1) * size] for y in range(height)]
    assert len(raw) == size * height
    assert all(row[0] == 0 for row in rows)
    return [row[1:] for row in rows]


def quarters(pixels: Pixels) -> list[Pixels]:
    """Cut a grid in four, row by row, as a bot does."""
    down, across = len(pixels) // 2, len(pixels[0]) // 2
    return [
        [row[left : left + across] for row in pixels[top : top + down]] for top in (0, down) for left in (0, across)
    ]


def halved(pixels: Pixels) -> Pixels:
    """Return every second pixel of every second row."""
    return [b"".join(row[at : at + 3] for at in range(0, len(row), 6)) for row in pixels[::2]]
