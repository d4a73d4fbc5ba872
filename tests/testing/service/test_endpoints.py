"""What the make-believe service takes and what it refuses: forms, their content types, and the images in them."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omgmj.testing.service import request_bodies
from omgmj.testing.service.endpoints import ACTION, BLEND, DESCRIBE, IMAGINE, QUERY, Asked, Submission, read_request
from omgmj.testing.service.request_bodies import Refusal, read_fields, read_image

URLENCODED = "application/x-www-form-urlencoded"
BOUNDARY = "--------------------------041277316025"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"
PNG = b"\x89PNG\r\n\x1a\n\0\xfb\xef\xbe\xff"
"""In base64 it has all that a form must escape: `+`, `/` and `=`."""
Fields = list[tuple[str, str]]


def uri(data: bytes = PNG, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def multipart(fields: Fields) -> bytes:
    head = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name="
    parts = [f'{head}"{name}"\r\n\r\n{value}\r\n' for name, value in fields]
    return "".join([*parts, f"--{BOUNDARY}--\r\n"]).encode()


def as_json(fields: Fields) -> bytes:
    together: dict[str, Any] = {}
    for name, value in fields:
        together[name] = [*together.get(name, []), value] if name == "base64Array" else value
    return json.dumps(together).encode()


def read(path: str, body: bytes, content_type: str = URLENCODED) -> Asked:
    headers = {"authorization": "Bearer t", "content-type": content_type}
    return read_request("POST", path, headers, body, {"t"})


def submission(path: str, fields: Fields, content_type: str = URLENCODED) -> Submission:
    write = {URLENCODED: lambda: urlencode(fields).encode(), MULTIPART: lambda: multipart(fields)}
    asked = read(path, write.get(content_type, lambda: as_json(fields))(), content_type)
    assert isinstance(asked, Submission)
    return asked


IMAGINED: Fields = [("model", "midjourney"), ("prompt", " a cat & a dog, 100% 猫 ")]
ACTED: Fields = [("model", "midjourney"), ("taskId", "3432"), ("customId", "MJ::Inpaint::1::u::SOLO")]
BLENDED: Fields = [("model", "midjourney"), ("base64Array", uri()), ("base64Array", uri())]
DESCRIBED: Fields = [("model", "midjourney"), ("base64", uri())]
COMMON: Fields = [("type", "NORMAL"), ("webhook", "https://example.org/hook?a=1&b=2")]
SHOWN = f"image/png of {len(PNG)} bytes"


@pytest.mark.parametrize("content_type", [URLENCODED, MULTIPART, "application/json"])
def test_each_call_is_read_alike_from_each_content_type(content_type: str) -> None:
    """Each call's fields are the same whatever the content type, and no image's data is kept."""
    imagined = submission(IMAGINE, [*IMAGINED, ("base64Array", uri()), *COMMON], content_type)
    assert imagined.fields == {
        "prompt": " a cat & a dog, 100% 猫 ",
        "type": "NORMAL",
        "webhook": "https://example.org/hook?a=1&b=2",
        "base64Array": (SHOWN,),
    }
    assert imagined.pool == "NORMAL"
    acted = submission(ACTION, [*ACTED, ("base64Mask", uri())], content_type)
    assert acted.fields == {"taskId": "3432", "customId": "MJ::Inpaint::1::u::SOLO", "base64Mask": SHOWN}
    assert acted.pool == "FAST"
    blended = submission(BLEND, [*BLENDED, ("dimensions", "PORTRAIT")], content_type)
    assert blended.fields == {"base64Array": (SHOWN, SHOWN), "dimensions": "PORTRAIT"}
    assert submission(DESCRIBE, DESCRIBED, content_type).fields == {"base64": SHOWN}


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (IMAGINE, IMAGINED[:1]),
        (IMAGINE, IMAGINED[1:]),
        (IMAGINE, [("model", "midjourney"), ("prompt", " \n")]),
        (IMAGINE, [("model", "gpt"), ("prompt", "a cat")]),
        (IMAGINE, [*IMAGINED, ("prompt", "a dog")]),
        (IMAGINE, [*IMAGINED, ("taskId", "3432")]),
        (IMAGINE, [*IMAGINED, ("dimensions", "SQUARE")]),
        (IMAGINE, [*IMAGINED, ("token", "t")]),
        (IMAGINE, [*IMAGINED, ("type", "fast")]),
        (IMAGINE, [*IMAGINED, ("type", "FAST"), ("type", "FAST")]),
        (IMAGINE, [*IMAGINED, ("webhook", "example.org/hook")]),
        (IMAGINE, [*IMAGINED, ("webhook", "ftp://example.org/hook")]),
        (IMAGINE, [*IMAGINED, ("webhook", "https:///hook")]),
        (IMAGINE, [*IMAGINED, ("webhook", "https://[hook")]),
        (IMAGINE, [*IMAGINED, ("base64Array[x]", uri())]),
        (IMAGINE, [*IMAGINED, ("prompt[]", "a dog")]),
        (IMAGINE, [*IMAGINED, ("taskId", "")]),
        (IMAGINE, [("model", "midjourney"), ("prompt", "")]),
        (IMAGINE, [*IMAGINED, ("base64Array", "[1]")]),
        (IMAGINE, [*IMAGINED, ("base64Array", "[null]")]),
        (IMAGINE, [*IMAGINED, ("base64Array", "[" * 100_000)]),
        (BLEND, [("model", "midjourney"), ("base64Array", ""), ("base64Array", "")]),
        (ACTION, ACTED[:2]),
        (ACTION, [ACTED[0], ACTED[2]]),
        (ACTION, [ACTED[0], ("taskId", "x"), ACTED[2]]),
        (ACTION, [*ACTED[:2], ("customId", "MJ::JOB::upsample::1::u"), ("base64Mask", uri())]),
        (BLEND, BLENDED[:1]),
        (BLEND, BLENDED[:2]),
        (BLEND, [*BLENDED, *BLENDED[1:], *BLENDED[1:]]),
        (BLEND, [*BLENDED, ("dimensions", "square")]),
        (BLEND, [*BLENDED, ("prompt", "a cat")]),
        (BLEND, [*BLENDED, ("token", "t")]),
        (DESCRIBE, DESCRIBED[:1]),
        (DESCRIBE, [*DESCRIBED, ("base64", uri())]),
        (DESCRIBE, [("model", "midjourney"), ("base64Array", uri())]),
    ],
)
def test_submission_that_is_not_to_the_letter_is_refused(path: str, fields: Fields) -> None:
    """A field that is missing, unknown, there twice or of a wrong value makes the code 400, and no value is quoted."""
    with pytest.raises(Refusal) as caught:
        submission(path, fields)
    assert caught.value.status == 400
    assert uri()[-12:] not in caught.value.reason


@pytest.mark.parametrize("content_type", [URLENCODED, MULTIPART, "application/json"])
def test_what_may_be_left_out_may_be_empty(content_type: str) -> None:
    """A field that need not be there is as good as left out where it is empty."""
    empty: Fields = [("type", ""), ("webhook", ""), ("base64Array", "")]
    assert submission(IMAGINE, [*IMAGINED, *empty], content_type) == submission(IMAGINE, IMAGINED, content_type)
    assert submission(ACTION, [*ACTED, ("base64Mask", "")], content_type).fields == dict(ACTED[1:])


def test_what_may_be_left_out_may_be_null() -> None:
    """A field that is null in JSON is as good as left out."""
    body = {"model": "midjourney", "prompt": "a cat", "type": None, "webhook": None, "base64Array": None}
    asked = read(IMAGINE, json.dumps(body).encode(), "application/json")
    assert isinstance(asked, Submission)
    assert asked.fields == {"prompt": "a cat"}


@pytest.mark.parametrize("content_type", [URLENCODED, MULTIPART])
@pytest.mark.parametrize(
    "images",
    [
        [("base64Array", uri()), ("base64Array", uri())],
        [("base64Array[]", uri()), ("base64Array[]", uri())],
        [("base64Array[0]", uri()), ("base64Array[1]", uri())],
        [("base64Array", f"{uri()},{uri()}")],
        [("base64Array", json.dumps([uri(), uri()]))],
        [("base64Array[]", json.dumps([uri()])), ("base64Array[]", uri())],
    ],
)
def test_list_of_images_in_each_writing(content_type: str, images: Fields) -> None:
    """However a form writer writes a list of images, it is the same list."""
    assert submission(BLEND, [*BLENDED[:1], *images], content_type).fields == {"base64Array": (SHOWN, SHOWN)}


QUERIED = b"model=midjourney&taskId=3432"


def packed(encoding: str, body: bytes) -> Asked:
    headers = {"authorization": "Bearer t", "content-type": URLENCODED, "content-encoding": encoding}
    return read_request("POST", QUERY, headers, body, {"t"})


def test_packed_body_is_unpacked() -> None:
    """A body may be packed as it says, or not at all."""
    assert packed("gzip", gzip.compress(QUERIED)) == packed("Identity", QUERIED) == packed("", QUERIED) == 3432


@pytest.mark.parametrize(
    ("status", "encoding", "body"),
    [
        (400, "gzip", QUERIED),
        (400, "gzip", b""),
        (400, "gzip", gzip.compress(QUERIED)[:-1]),
        (400, "gzip", gzip.compress(bytes(1001))),
        (415, "br", QUERIED),
    ],
    ids=["garbage", "nothing", "cut short", "a bomb", "another"],
)
def test_body_that_is_not_packed_as_it_says_is_refused(
    status: int, encoding: str, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not the gzip that it says, or too much of it, is refused like any other body that cannot be read."""
    monkeypatch.setattr(request_bodies, "LARGEST", 1000)
    with pytest.raises(Refusal) as caught:
        packed(encoding, body)
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"[]"),
        ("application/json", b'[["model", "midjourney"], ["taskId", "3432"]]'),
        ("application/json", b'{"model": "midjourney", "taskId": 3432.0}'),
        ("application/json", b'{"model": "midjourney", "taskId": null}'),
        ("application/json", b'{"model": "midjourney", "taskId": true}'),
        ("application/json", b'{"model": "midjourney", "taskId": {"id": 3432}}'),
        ("application/json", b'{"model": "midjourney", "taskId": 3432, "taskId": 3432}'),
        ("application/json", b'{"model": "midjourney", "taskId": "\\ud83d"}'),
        ("application/json", b"\xff"),
        ("application/json", b"[" * 100_000),
        (MULTIPART, b""),
        (MULTIPART, multipart([])),
        (MULTIPART, multipart([("model", "midjourney"), ("taskId", "3432")])[:-60]),
        (MULTIPART, multipart([("model", "midjourney"), ("taskId", "3432")]).replace(b' name="taskId"', b"")),
        (MULTIPART, multipart([("model", "midjourney"), ("taskId", "3432")]).replace(b"\r\n\r\n3432", b"\r\n3432")),
        (MULTIPART, multipart([("model", "midjourney")]).replace(b'"model"', b'"model"; filename="model"')),
        (MULTIPART, multipart([("model", "midjourney"), ("taskId", "3432")]).replace(b"3432", b"\xff")),
        ("multipart/form-data", multipart([("model", "midjourney"), ("taskId", "3432")])),
    ],
)
def test_body_that_cannot_be_read_is_refused(content_type: str, body: bytes) -> None:
    """What is no form in its own content type is refused, whatever bytes it is."""
    with pytest.raises(Refusal) as caught:
        read(QUERY, body, content_type)
    assert caught.value.status == 400


def test_number_in_json_is_an_id() -> None:
    """JSON may hold the ID as a number or as a string."""
    for task_id in ("3432", '"3432"'):
        assert read(QUERY, b'{"model": "midjourney", "taskId": %b}' % task_id.encode(), "application/json") == 3432


@given(st.lists(st.tuples(st.from_regex("[a-z0-9]{1,9}", fullmatch=True), st.text(st.characters(codec="utf-8")))))
def test_fields_come_through_unchanged(fields: Fields) -> None:
    """Any text comes through a urlencoded form and a multipart one, line ends, dashes and all."""
    if not fields:
        return
    assert read_fields(URLENCODED, urlencode(fields).encode()) == fields
    assert read_fields(MULTIPART, multipart(fields)) == fields


@given(st.sampled_from([URLENCODED, MULTIPART, "application/json"]), st.binary())
def test_any_bytes_are_fields_or_refused(content_type: str, noise: bytes) -> None:
    """Any bytes give fields or a refusal, never anything else."""
    for body in (noise, multipart([("a", "b")]).replace(b"b", noise), multipart([("a", "b")]).replace(b'"a"', noise)):
        try:
            assert all(isinstance(text, str) for field in read_fields(content_type, body) for text in field)
        except Refusal as refusal:
            assert refusal.status == 400


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF87a", "image/gif"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\n\0\0\0WEBPVP8 ", "image/webp"),
    ],
)
def test_image_is_told_from_its_first_bytes(data: bytes, kind: str) -> None:
    """The type is the content's, whatever is declared."""
    assert read_image("base64", uri(data, "webp")) == f"{kind} of {len(data)} bytes"


@pytest.mark.parametrize(
    "text",
    [
        "",
        uri()[23:],
        uri(b""),
        uri(b"<svg/>"),
        uri(b"RIFF\0\0\0\0WAVE"),
        uri().replace("image/png", "text/plain"),
        uri().replace(";base64", ""),
        uri().replace("+", " "),
        uri().rstrip("="),
        uri() + "\n",
        uri() + ",",
        "https://example.org/cat.png",
    ],
)
def test_what_is_no_image_is_refused(text: str) -> None:
    """What is no data URI, no base64 or no image of the four types is refused."""
    with pytest.raises(Refusal, match="base64Mask"):
        read_image("base64Mask", text)
