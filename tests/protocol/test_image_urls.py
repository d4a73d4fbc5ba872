"""The URLs of a task's image, and WSRV's parameters."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from omgmj.errors import UsageError
from omgmj.models import Status, Task
from omgmj.protocol.image_urls import PARAMETERS, WAYS, image_urls, urls_by

DISCORD = "https://cdn.discordapp.com/attachments/1/2/a%20b.png?ex=65&is=6f&hm=a+b%2Fc&"
STORED = "https://store.test/3432.png"
DONE = Task(3432, Status.SUCCESS, kind="IMAGINE", image_url=DISCORD, stored_image_url=STORED)


def test_each_way_is_a_url() -> None:
    """A record with both URLs has all ways, in the order in which they are tried; WSRV gets the URL as it is."""
    urls = image_urls(DONE)
    assert tuple(urls) == WAYS
    assert (urls["stored"], urls["discord"]) == (STORED, DISCORD)
    for way, inner in (("wsrv", DISCORD), ("wsrv-stored", STORED)):
        parts = urlsplit(urls[way])
        assert (parts.scheme, parts.netloc, parts.path) == ("https", "wsrv.nl", "/")
        assert parse_qs(parts.query, strict_parsing=True) == {"url": [inner]}


def test_compressed_ways_are_those_of_wsrv() -> None:
    """With WSRV's parameters only its ways are left, and the parameters go beside the URL, never into it."""
    urls = image_urls(DONE, {"w": 512, "output": "webp", "q": "80", "il": True, "dpr": 1.5})
    assert tuple(urls) == ("wsrv", "wsrv-stored")
    expected = {"url": [DISCORD], "w": ["512"], "output": ["webp"], "q": ["80"], "il": ["true"], "dpr": ["1.5"]}
    assert parse_qs(urlsplit(urls["wsrv"]).query, strict_parsing=True) == expected


def test_ways_without_a_url_are_left_out() -> None:
    """What the record holds no URL for is left out, down to nothing."""
    assert tuple(image_urls(Task(1, Status.SUCCESS, image_url=DISCORD))) == ("discord", "wsrv")
    assert tuple(image_urls(Task(1, Status.SUCCESS, image_url="", stored_image_url=STORED))) == (
        "stored",
        "wsrv-stored",
    )
    assert image_urls(Task(1, Status.SUCCESS)) == {}
    for none in ("a key.png", "javascript:alert(1)", "//cdn.test/a.png", "https://", "\ud83d"):
        assert image_urls(Task(1, Status.SUCCESS, image_url=none, stored_image_url=none)) == {}
    assert image_urls(Task(1, Status.SUCCESS, image_url="https://\ud83d"))["wsrv"].isascii()


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("w", [1, 4096, "300"], [0, -1, True, 1.5, "", "1e3", "٣", None, "3\n", 10**12]),
        ("q", [1, 100], [0, 101]),
        ("l", [0, 9], [-1, 10]),
        ("output", ["webp", "jpg", "png", "gif"], ["tiff", "json", "WEBP", "", None, 5, ["webp"]]),
        ("fit", ["inside", "cover"], ["squaredown", 5]),
        ("a", ["center", "focal", "attention"], ["middle"]),
        ("dpr", [1, 8, 2.5, "2"], [0.5, 9, "nan", float("nan"), float("inf"), 10**400, True, "x", None]),
        ("we", [True, False], [1, "true", None]),
        ("bg", ["black", "CCC", "5CCC", "CCCCCC", "55CCCCCC"], ["#CCC", "12345", "&w=5", 123, ""]),
        ("con", [-100, 0, 100], [-101, 101]),
        ("n", [-1, 1], [-2]),
    ],
)
def test_parameters_are_checked(name: str, good: list[Any], bad: list[Any]) -> None:
    """Each parameter takes what WSRV documents; anything else is a UsageError that names it."""
    for value in good:
        assert f"&{name}=" in image_urls(DONE, {name: value})["wsrv"]
    for value in bad:
        with pytest.raises(UsageError, match=f"compress: {name} must be"):
            image_urls(DONE, {name: value})


def test_unknown_parameters_are_refused() -> None:
    """What WSRV does not know, and what would bring something else than this image, is refused."""
    for name in ("url", "default", "encoding", "filename", "errorredirect", "W", "", "width", 5):
        with pytest.raises(UsageError, match="no parameter"):
            image_urls(DONE, {name: "x"})  # type: ignore[dict-item]
    for wrong in ([("w", 5)], "w=5", 5):
        with pytest.raises(UsageError, match="mapping"):
            image_urls(DONE, wrong)  # type: ignore[arg-type]


def test_no_parameter_takes_anything() -> None:
    """No check in the table lets a text through that would begin another parameter."""
    for name in PARAMETERS:
        with pytest.raises(UsageError):
            image_urls(DONE, {name: "5&url=x"})


@pytest.mark.parametrize(
    ("task", "text"),
    [
        (Task(7, Status.IN_PROGRESS, progress=46, image_url=DISCORD), r"not finished \(IN_PROGRESS, 46%\)"),
        (Task(7, Status.SUBMITTED), r"not finished \(SUBMITTED\)"),
        (Task(7, Status.FAILURE, fail_reason="Banned prompt", image_url=DISCORD), r"FAILURE \(Banned prompt\)"),
        (Task(7, Status.CANCEL), r"CANCEL \(no reason given\)"),
        (Task(7, Status.SUCCESS, kind="DESCRIBE"), "texts"),
        (Task(7, Status.SUCCESS, kind="IMAGINE"), "no URL"),
    ],
)
def test_a_task_without_an_image_is_refused_with_the_reason(task: Task, text: str) -> None:
    """A task that is not finished, failed, or has none, is a UsageError that says which."""
    with pytest.raises(UsageError, match=f"task 7 has no image: .*{text}"):
        urls_by(task, "auto", None)


def test_an_unknown_word_that_ended_may_have_an_image() -> None:
    """A status that nobody knows, of a task that has finished and has a URL, is no reason to refuse."""
    odd = Task(7, "DONE", finished_at=datetime(2023, 8, 31, tzinfo=UTC), image_url=DISCORD)
    assert urls_by(odd, "discord", None) == {"discord": DISCORD}


def test_the_way_is_chosen() -> None:
    """`auto` gives all ways, another name its own; a wrong name, or one the task does not have, is a UsageError."""
    assert urls_by(DONE, "auto", None) == image_urls(DONE)
    for way in WAYS:
        assert urls_by(DONE, way, None) == {way: image_urls(DONE)[way]}
    assert tuple(urls_by(DONE, "auto", {"w": 5})) == tuple(urls_by(DONE, "auto", {})) == ("wsrv", "wsrv-stored")
    assert tuple(urls_by(DONE, "wsrv", {"w": 5})) == ("wsrv",)
    for wrong in ("s3", "", None, 5, ["stored"]):
        with pytest.raises(UsageError, match="via"):
            urls_by(DONE, wrong, None)  # type: ignore[arg-type]
    for way in ("stored", "discord"):
        with pytest.raises(UsageError, match="compress"):
            urls_by(DONE, way, {"w": 5})
    with pytest.raises(UsageError, match="there is: discord, wsrv"):
        urls_by(Task(7, Status.SUCCESS, image_url=DISCORD), "stored", None)
