"""What users hand in as an image: what is taken, what is refused, and that the event loop goes on meanwhile."""

from __future__ import annotations

import asyncio
import base64
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omgmj.errors import UsageError
from omgmj.images import uploads
from omgmj.images.media_type import image_type
from omgmj.images.uploads import MAX_IMAGE, check_image, check_images, data_uris
from omgmj.threads import in_thread
from tests.images.test_media_type import HEADS

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(200))


def data_uri(image: Any, what: str = "image") -> str:
    return data_uris([check_image(image, what)])[0]


def uri(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("kind", HEADS)
def test_content_becomes_a_data_uri(make: Any, kind: str) -> None:
    """Content of each kind is encoded whole, with the type that it has."""
    content = HEADS[kind] + os.urandom(1000)
    assert data_uri(make(content)) == uri(content, kind)


@pytest.mark.parametrize("size", [12, 13, 14, uploads._SLICE, uploads._SLICE + 1, 3 * uploads._SLICE - 1])
def test_any_length_is_encoded_whole(size: int, tmp_path: Path) -> None:
    """Slices fit together at any length, from content, from a file and from a data URI."""
    content = (PNG * (size // len(PNG) + 1))[:size]
    file = tmp_path / "a b.dat"
    file.write_bytes(content)
    assert data_uri(content) == uri(content)
    assert data_uri(file) == data_uri(str(file)) == uri(content)
    assert data_uri(uri(content)) == uri(content)


def test_what_can_change_is_copied_first() -> None:
    """A buffer that its owner goes on with, once it was taken, is sent as it was."""
    content = bytearray(PNG)
    taken = check_image(content, "image")
    content[:] = b"x" * len(content)
    assert data_uris([taken]) == [uri(PNG)]


@pytest.mark.parametrize(
    "declared", ["data:image/jpeg;base64,", "data:;base64,", "DATA:image/png;name=x;BASE64,", "data:text/plain;base64,"]
)
def test_the_content_of_a_data_uri_counts(declared: str) -> None:
    """A data URI gets the type of its content, whatever it said."""
    assert data_uri(declared + base64.b64encode(PNG).decode()) == uri(PNG)


@pytest.mark.parametrize(
    ("image", "text"),
    [
        ("data:image/png,abc", "form"),
        ("data:", "form"),
        ("data:image/png;base64", "form"),
        ("data:image/png;base64,", "empty"),
        ("data:image/png;base64,iVBORw0KGgo", "no base64"),
        ("data:image/png;base64,iVBO Rw0KGgo=", "no base64"),
        ("data:image/png;base64,iVBORw0KGg-_", "no base64"),
        ("data:image/png;base64,ünicode=", "no base64"),
        ("data:image/png;base64,\ud83d\ud83d\ud83d\ud83d", "no base64"),
        ("data:image/png;base64,PHN2Zz48L3N2Zz4=", "no PNG"),
    ],
)
def test_bad_data_uris_are_refused(image: str, text: str) -> None:
    """A data URI that is no base64 or holds no image is a UsageError that names the image."""
    with pytest.raises(UsageError, match=text) as caught:
        data_uri(image, what="image 2")
    assert str(caught.value).startswith("image 2")


def test_padding_between_two_slices_is_refused() -> None:
    """Two base64 texts in a row are none, even where the seam lies between two slices."""
    first = base64.b64encode(PNG + bytes(uploads._SLICE - len(PNG) - 1)).decode()
    assert first.endswith("=")
    assert len(first) == uploads._CHARACTERS
    with pytest.raises(UsageError, match="padding"):
        data_uri(f"data:image/png;base64,{first}AAAA")


def test_long_data_uris_are_not_quoted() -> None:
    """An error shows the head of a data URI at most."""
    with pytest.raises(UsageError) as caught:
        data_uri("data:" + "x" * 100_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("image", "text"),
    [
        (b"", "empty"),
        (bytearray(), "empty"),
        (b"<html>", "no PNG"),
        (memoryview(bytes(12)), "no PNG"),
        (None, "not NoneType"),
        (5, "not int"),
        (["a.png"], "not list"),
        ("", "cannot be read"),
        ("no/such/file.png", "no/such/file.png"),
        ("nul\0.png", "no path"),
        pytest.param(base64.b64encode(bytes(9000)).decode(), "too long; content goes in as bytes", id="base64 alone"),
        ("https://cdn.test/a.png", "cannot be read"),
    ],
)
def test_what_is_no_image_is_refused(image: Any, text: str) -> None:
    """What is empty, of a wrong type, or not there is a UsageError that names the image and the path."""
    with pytest.raises(UsageError, match=text) as caught:
        data_uri(image, what="mask")
    assert str(caught.value).startswith("mask")


def test_a_released_buffer_is_refused() -> None:
    """A memoryview that was released is a UsageError."""
    view = memoryview(PNG)
    view.release()
    with pytest.raises(UsageError, match="released"):
        data_uri(view)


def test_bad_files_are_refused(tmp_path: Path) -> None:
    """A directory, a pipe, an empty file and one that holds no image are UsageErrors that name the path."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("hello")
    for name, text in (("", "a directory"), ("pipe", "no regular"), ("empty.png", "empty"), ("text.png", "no PNG")):
        with pytest.raises(UsageError, match=text) as caught:
            data_uri(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("path", [b"a.png", 5])
def test_a_path_of_something_else_than_a_string_is_refused(path: Any) -> None:
    """A path object that is made of bytes, or of what is no path, is a UsageError."""

    class Odd(os.PathLike[Any]):
        def __fspath__(self) -> Any:
            return path

    with pytest.raises(UsageError, match=r"a path \(a string or a Path\) .* not Odd$"):
        check_image(Odd(), "image")


def test_what_is_too_large_is_refused(tmp_path: Path) -> None:
    """As many bytes as the cap are taken; one more is refused, and a file by its size, before it is read."""
    most = PNG + bytes(MAX_IMAGE - len(PNG))
    whole = data_uri(most)
    assert whole == uri(most)
    assert data_uri(whole) == whole
    huge = tmp_path / "huge.png"
    with huge.open("wb") as file:
        file.truncate(1 << 40)
    for image in (most + b"x", memoryview(most + b"x"), uri(most + b"x"), uri(most + b"xxxx"), huge):
        with pytest.raises(UsageError, match=str(MAX_IMAGE)):
            data_uri(image)


def test_a_file_that_grows_is_capped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a file has when it is read counts, not what it had when it was looked at."""
    file = tmp_path / "grows.png"
    file.write_bytes(PNG + bytes(100))
    small = os.stat_result((*file.stat()[:6], 50, 0, 0, 0))
    monkeypatch.setattr(uploads, "MAX_IMAGE", 100)
    monkeypatch.setattr("omgmj.images.uploads.os.stat", lambda path: small)
    with pytest.raises(UsageError, match="at most 100"):
        data_uri(file)


def test_several_images_are_named_by_their_place() -> None:
    """Several images keep their order, and an error says which one it was."""
    assert data_uris(check_images([PNG, uri(PNG)])) == [uri(PNG)] * 2
    assert data_uris(check_images(iter([]))) == []
    with pytest.raises(UsageError, match="image 2 is empty"):
        check_images([PNG, b""])
    with pytest.raises(UsageError, match="image 2 is no PNG"):
        data_uris(check_images([PNG, b"<html>"]))
    for wrong in (PNG, bytearray(PNG), "a.png", Path("a.png"), 5, None):
        with pytest.raises(UsageError, match="list of images"):
            check_images(wrong)


@pytest.mark.real_time
async def test_the_loop_goes_on_while_a_large_image_is_encoded() -> None:
    """While 20 MiB are encoded the event loop has its turns."""
    turns = 0
    task = asyncio.create_task(in_thread(lambda: data_uri(PNG + bytes(MAX_IMAGE - len(PNG)))))
    while not task.done():
        await asyncio.sleep(0)
        turns += 1
    assert await task
    assert turns > 10


@given(st.text(st.sampled_from("iVBORw0KGgo=A,;:/ "), max_size=40).map(lambda text: "data:image/png;base64," + text))
def test_any_data_uri_gives_one_or_a_usage_error(text: str) -> None:
    """Any data URI gives one that decodes to an image, or a UsageError."""
    try:
        made = uploads._data_uri(text, "image")
    except UsageError:
        return
    assert image_type(base64.b64decode(made.partition(",")[2], validate=True))
