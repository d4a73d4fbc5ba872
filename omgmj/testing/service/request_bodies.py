"""What the make-believe service is sent, as fields, whatever the content type, and the images among them.

Pure. The contract's types are `application/x-www-form-urlencoded` and `application/json`. `multipart/form-data` is
taken too, as a public client of the service sends it. A body may be packed by gzip. Which fields there may be, and what
they mean, is left to `endpoints`.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Callable, Mapping
from email import message_from_bytes
from urllib.parse import parse_qsl

LARGEST = 256 << 20
"""Bytes that a body has at most when it is unpacked."""
_HEADS = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), "image/webp"),
)


class Refusal(Exception):
    """A request that is not to the letter: the HTTP status of the answer, and why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Unreadable(Refusal):
    """A refusal of a body that is not packed as it says."""


def unpack(encoding: str, body: bytes) -> bytes:
    """Return the body as it was before it was packed as its `Content-Encoding` says."""
    match encoding.strip().lower():
        case "" | "identity":
            return body
        case "gzip":
            unpacker = zlib.decompressobj(wbits=31)
            try:
                content = unpacker.decompress(body, LARGEST)
            except zlib.error:
                content = b""
            if not unpacker.eof:
                raise Unreadable(400, f"the body is not the gzip that it says, or more than {LARGEST} bytes")
            return content
    raise Unreadable(415, "the content encoding must be gzip, or none")


def read_fields(content_type: str, body: bytes) -> list[tuple[str, str]]:
    """Return the fields of a body in their order; a list in JSON is a field that stands there several times.

    A field that is null in JSON is left out.
    """
    reader = _READERS.get(content_type.partition(";")[0].strip().lower())
    if reader is None:
        raise Refusal(415, f"the content type must be application/x-www-form-urlencoded, not {content_type!r}")
    try:
        return reader(content_type, body)
    except (TypeError, ValueError, RecursionError):
        raise Refusal(400, "the form cannot be read as one") from None


def read_urlencoded(_content_type: str, text: bytes) -> list[tuple[str, str]]:
    """Return the fields of a form, or of a query in its writing; `ValueError` where it cannot be read as one."""
    return parse_qsl(text.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict")


def _read_multipart(content_type: str, body: bytes) -> list[tuple[str, str]]:
    message = message_from_bytes(b"Content-Type: %b\r\n\r\n%b" % (content_type.encode("ascii"), body))
    if message.defects or not message.is_multipart():
        raise ValueError
    fields = []
    for part in message.walk():
        if part is message:
            continue
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if (
            part.defects
            or part.get_filename() is not None
            or not isinstance(name, str)
            or not isinstance(content, bytes)
        ):
            raise ValueError
        fields.append((name, content.decode()))
    return fields


def _read_json(_content_type: str, body: bytes) -> list[tuple[str, str]]:
    # As a tuple an object is told from a list, and keeps a name that stands there twice.
    document = json.loads(body, object_pairs_hook=tuple)
    if not isinstance(document, tuple):
        raise TypeError
    return [
        (name, _plain(value))
        for name, given in document
        if given is not None
        for value in (given if isinstance(given, list) else [given])
    ]


def _plain(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError
    text = str(value)
    text.encode()  # A lone surrogate is no text.
    return text


_READERS: Mapping[str, Callable[[str, bytes], list[tuple[str, str]]]] = {
    "application/x-www-form-urlencoded": read_urlencoded,
    "multipart/form-data": _read_multipart,
    "application/json": _read_json,
}


def read_list(name: str, value: str) -> list[str]:
    """Return the data URIs in one field: one, several with commas between, or a list in JSON."""
    if not value.startswith("["):
        return re.split(",(?=data:)", value)
    try:
        return [_plain(uri) for uri in json.loads(value)]
    except (TypeError, ValueError, RecursionError):
        raise Refusal(400, f"{name} begins like a list in JSON and is none of strings") from None


def read_image(name: str, uri: str) -> str:
    """Return what image the data URI in the field `name` holds, such as `image/png of 68 bytes`.

    The type is told from the first bytes: public clients declare one type for all.
    """
    head, _, text = uri.partition(",")
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        data = b""
    kind = next((kind for beginning, kind in _HEADS if beginning.match(data)), None)
    if kind is None or not re.fullmatch(r"data:image/[a-z0-9.+-]+;base64", head):
        raise Refusal(400, f"{name} must hold a PNG, JPEG, WebP or GIF as a data URI in base64")
    return f"{kind} of {len(data)} bytes"
