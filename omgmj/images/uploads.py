"""What users hand in as an image becomes a data URI, checked before anything is sent.

A type is told from the first bytes, never from a name. What is done with the URI is `protocol`'s business, and images
that come from the service are `download`'s.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from collections.abc import Iterable
from typing import Any, NamedTuple

from omgmj.errors import UsageError

Image = bytes | bytearray | memoryview | str | os.PathLike[str]
"""The content itself, a data URI (a string that begins with `data:`), or the path of a file."""

MAX_IMAGE = 20 * 1024 * 1024
"""Bytes that an image may have, decoded."""
HEAD = 12
"""Bytes that `image_type` wants to see."""
LONGEST_PATH = 4096
"""Characters of a path at most."""
_SLICE = 384 * 1024
"""Bytes that are encoded in one go: the interpreter runs nothing else meanwhile, in whatever thread it is done."""
_CHARACTERS = _SLICE // 3 * 4


def image_type(head: bytes) -> str | None:
    """Return the media type of what begins with these bytes, None where it is no PNG, JPEG, WebP or GIF."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return None


class Given(NamedTuple):
    """An image as it was handed in, which nobody changes any more, and what to call it in an error."""

    image: bytes | str
    name: str


def check_image(image: Any, name: str) -> Given:
    """Take an image; `UsageError` where it is neither bytes nor a path nor a data URI, or empty or too large bytes."""
    if isinstance(image, bytes | bytearray | memoryview):
        # A copy, where it can change: the caller may go on with it meanwhile.
        return Given(_content(image, name), name)
    try:
        path: object = os.fspath(image)
    except TypeError:
        path = None
    if not isinstance(path, str):
        raise UsageError(f"{name} must be bytes, a path (a string or a Path) or a data URI, not {type(image).__name__}")
    return Given(path, name)


def check_images(images: object) -> list[Given]:
    """Take several images, as `check_image` does; an error names which: `image 2`."""
    if isinstance(images, bytes | bytearray | memoryview | str | os.PathLike) or not isinstance(images, Iterable):
        raise UsageError(f"images must be a list of images, not {type(images).__name__}")
    return [check_image(image, f"image {number}") for number, image in enumerate(images, 1)]


def data_uris(images: Iterable[Given]) -> list[str]:
    """Return images as base64 data URIs of the types that their contents have; this takes long, and reads files.

    `UsageError` names the image that is empty, larger than `MAX_IMAGE`, no PNG, JPEG, WebP or GIF, or cannot be read.
    """
    return [_data_uri(image, name) for image, name in images]


def _data_uri(image: bytes | str, what: str) -> str:
    if isinstance(image, str) and image[:5].lower() == "data:":
        return _checked(image, what)
    content, name = (image, what) if isinstance(image, bytes) else _read(image, what)
    parts = [f"data:{_type(content, name)};base64,"]
    parts += [_encoded(content[start : start + _SLICE]) for start in range(0, len(content), _SLICE)]
    return "".join(parts)


def _encoded(part: bytes) -> str:
    return base64.b64encode(part).decode("ascii")


def _content(image: bytes | bytearray | memoryview, what: str) -> bytes:
    try:
        _check_size(memoryview(image).nbytes, what)
        return bytes(image)
    except ValueError as error:
        raise UsageError(str(error) if isinstance(error, UsageError) else f"{what}: {error}") from None


def _read(path: str, what: str) -> tuple[bytes, str]:
    """Return the file's content, and what to call it in an error."""
    if len(path) > LONGEST_PATH:
        raise UsageError(f"{what} is no path, as it is too long; content goes in as bytes, or as a data URI (data:…)")
    name = f"{what} ({path!r})"
    try:
        found = os.stat(path)  # noqa: PTH116 (a Path of rubbish raises elsewhere in each version of Python)
        if not stat.S_ISREG(found.st_mode):
            raise UsageError(f"{name} is {'a directory' if stat.S_ISDIR(found.st_mode) else 'no regular file'}")
        _check_size(found.st_size, name)
        with open(path, "rb") as file:  # noqa: PTH123 (as above)
            content = file.read(MAX_IMAGE + 1)
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise UsageError(str(error) if isinstance(error, UsageError) else f"{name} is no path: {error}") from None
    _check_size(len(content), name)  # It may have grown or shrunk meanwhile.
    return content, name


def _checked(uri: str, what: str) -> str:
    """Return a data URI with the type that its content has."""
    head, comma, payload = uri.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise UsageError(f"{what} must be a data URI of the form data:image/png;base64,…; got {head[:40]!r}")
    _check_size(len(payload) // 4 * 3 - payload[-2:].count("="), what)
    kind = None
    for start in range(0, len(payload), _CHARACTERS):
        part = payload[start : start + _CHARACTERS]
        try:
            content = binascii.a2b_base64(part.encode("ascii"), strict_mode=True)
        except ValueError as error:
            raise UsageError(f"{what} is a data URI whose content is no base64: {error}") from None
        if len(content) != _SLICE and start + _CHARACTERS < len(payload):
            raise UsageError(f"{what} is a data URI whose content is no base64: padding in the middle")
        kind = kind or _type(content, what)
    return f"data:{kind};base64,{payload}"


def _type(content: bytes, what: str) -> str:
    kind = image_type(content[:HEAD])
    if kind is None:
        raise UsageError(f"{what} is no PNG, JPEG, WebP or GIF: it begins with {content[:HEAD]!r}")
    return kind


def _check_size(size: int, what: str) -> None:
    if size <= 0:
        raise UsageError(f"{what} is empty")
    if size > MAX_IMAGE:
        raise UsageError(f"{what} has {size} bytes; at most {MAX_IMAGE} are taken")
