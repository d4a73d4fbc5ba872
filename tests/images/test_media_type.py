"""Media types: told from the first bytes."""

from __future__ import annotations

import pytest

from omgmj.images.media_type import image_type

HEADS = {
    "image/png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "image/jpeg": b"\xff\xd8\xff\xe0\0\x10JFIF",
    "image/webp": b"RIFF\x24\0\0\0WEBPVP8 ",
    "image/gif": b"GIF89a\x01\0\x01\0",
}


@pytest.mark.parametrize("kind", HEADS)
def test_types_are_told_from_the_first_bytes(kind: str) -> None:
    """Each type is known by its first bytes, and by no fewer of them than tell it."""
    assert image_type(HEADS[kind]) == kind
    assert image_type(b" " + HEADS[kind]) is None
    assert image_type(HEADS[kind][:2]) is None


def test_old_gif_and_other_riff() -> None:
    """GIF87a is a GIF; a RIFF that holds sound is no WebP; TIFF, SVG and nothing are no image."""
    assert image_type(b"GIF87a") == "image/gif"
    assert [image_type(head) for head in (b"RIFF\x24\0\0\0WAVEfmt ", b"II*\0", b"<svg", b"")] == [None] * 4
