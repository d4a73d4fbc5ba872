"""The media type of an image, told from its first bytes."""

from __future__ import annotations

HEAD = 12
"""Bytes that `image_type` wants to see."""
SUFFIXES = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/gif": "gif"}
"""The suffix of a file, by the media type of what is in it."""


def image_type(head: bytes) -> str | None:
    """Return the media type of a content by its first bytes; None for anything but PNG, JPEG, WebP and GIF."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return None
