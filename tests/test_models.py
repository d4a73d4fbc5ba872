"""`models`: the values that users hold, and the one table of statuses."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import attrs
import pytest

from omgmj.errors import DecodeError, TaskFailed
from omgmj.models import STATUS_ORDER, TERMINAL, Action, Status, Task, TaskPage

SAMPLE = (Path(__file__).parent / "samples" / "query-response.json").read_bytes()
NOW = datetime(2023, 8, 31, 14, 0, 14, tzinfo=UTC)
U1 = Action("MJ::JOB::upsample::1::x", "", "U1")
AGAIN = Action("MJ::JOB::reroll::0::x::SOLO", "🔄", "")


def task(status: str = "SUCCESS", **fields: Any) -> Task:
    """Make a task with some fields."""
    return Task(id=20, status=status, **fields)


def test_one_table_of_statuses() -> None:
    """Every known word stands in the one table, and the terminal words are the last of it."""
    assert set(STATUS_ORDER) == set(Status)
    assert {word for word, order in STATUS_ORDER.items() if order == max(STATUS_ORDER.values())} == TERMINAL
    assert all(status.value == status.name for status in Status)


@pytest.mark.parametrize("status", list(Status))
def test_known_words_decide_by_themselves(status: Status) -> None:
    """A known word is terminal or not whatever finishTime says, as a member and as a plain string."""
    for word in (status, status.value):
        for finished in (None, NOW):
            it = task(word, finished_at=finished)
            assert it.is_terminal == (status in TERMINAL)
            assert it.succeeded == (status is Status.SUCCESS)
            assert it.failed == (status in {Status.FAILURE, Status.CANCEL})


def test_an_unknown_word_ends_with_finish_time_only() -> None:
    """An unknown word is neither an end nor a failure until finishTime is set."""
    assert not task("FAILED").is_terminal
    assert not task("FAILED").failed
    ended = task("FAILED", finished_at=NOW)
    assert (ended.is_terminal, ended.succeeded, ended.failed) == (True, False, True)


def test_raise_for_failure() -> None:
    """Only a task that ended badly raises, with its reason where it gave one."""
    for status in (Status.SUCCESS, Status.IN_PROGRESS, Status.MODAL):
        task(status).raise_for_failure()
    with pytest.raises(TaskFailed, match="CANCEL: no reason given"):
        task(Status.CANCEL).raise_for_failure()


def test_values_are_values() -> None:
    """Tasks and actions are immutable, hashable, comparable, and come through pickle and copy."""
    one, two = task(actions=(U1,), source=b"{}"), task(actions=(U1,), source=b"[]")
    assert one == two, "the source is no part of the comparison"
    assert len({one, two}) == 1
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        one.status = "x"  # type: ignore[misc]
    assert not hasattr(one, "__dict__")
    assert pickle.loads(pickle.dumps(one)) == copy.deepcopy(one) == one  # noqa: S301
    assert "source" not in repr(one)


def test_find_action() -> None:
    """An action is found by its label, its emoji or its custom ID; an empty name finds none."""
    it = task(actions=(U1, AGAIN))
    assert it.find_action("U1") is it.find_action(U1.custom_id) is U1
    assert it.find_action("🔄") is AGAIN
    assert it.find_action("") is None
    assert it.find_action("U5") is None


def test_raw_is_the_record_bare_or_in_its_envelope() -> None:
    """`raw` is the record as it came, alone or inside the service's envelope, decoded anew each time."""
    record = json.loads(SAMPLE)["data"]
    bare = {**record, "data": {"new": 1}, "statusCode": 5}
    for source, raw in (
        (SAMPLE, record),
        (json.dumps(record).encode(), record),
        (json.dumps({"data": record}).encode(), record),
        (json.dumps(bare).encode(), bare),
        (b"", {}),
    ):
        it = task(source=source)
        assert it.raw == raw
        it.raw.clear()
        assert it.raw == raw


@pytest.mark.parametrize("new", [b"9" * 5000, b"[" * 100_000 + b"]" * 100_000], ids=["long", "deep"])
def test_raw_that_cannot_be_read_again(new: bytes) -> None:
    """What only orjson reads is a DecodeError of ours when the record is asked for, never another error."""
    with pytest.raises(DecodeError, match="task 20") as caught:
        _ = task(source=b'{"status":"SUCCESS","new":' + new + b"}").raw
    assert caught.value.body.startswith(b'{"status"')


def test_an_action_says_its_name() -> None:
    """`str(action)` is its label, else its emoji, else its custom ID."""
    assert [str(action) for action in (U1, AGAIN, Action("MJ::x"), Action("c", "🔄", "Again"))] == [
        "U1",
        "🔄",
        "MJ::x",
        "Again",
    ]
    assert f"{U1}" == "U1"


class Tags(HTMLParser):
    """Reads HTML: the tags, with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


EVIL = "<script>alert(1)</script><img src=x onerror='y'>\"'&\ud83d"


def test_a_notebook_shows_a_task() -> None:
    """A notebook gets the status, the prompt, the actions and the image of a task, and nothing of its webhook."""
    url = 'https://cdn.test/a.png?a=1&b="2"'
    html = task(
        prompt="a cat", progress=100, image_url=url, webhook_url="https://a.test/secret", actions=(U1, AGAIN)
    )._repr_html_()
    shown = Tags(html)
    assert all(part in shown.text for part in ("Task 20", "SUCCESS", "100 %", "a cat", "U1  🔄"))
    assert [attrs["src"] for tag, attrs in shown.tags if tag == "img"] == [url]
    assert [attrs["href"] for tag, attrs in shown.tags if tag == "a"] == [url]
    assert "secret" not in html


@pytest.mark.parametrize("field", ["status", "kind", "prompt", "fail_reason", "image_url", "stored_image_url"])
def test_a_notebook_runs_nothing_of_a_record(field: str) -> None:
    """Whatever stands in a record comes to a notebook as text, in ASCII, so that half a character does no harm."""
    fields: dict[str, Any] = {"status": "SUCCESS", field: f"https://{EVIL}"}
    it = Task(id=20, **fields, actions=(Action(EVIL, EVIL, ""), Action(EVIL, "", EVIL)))
    html = TaskPage(1, 20, 134, (it, it))._repr_html_()
    assert html.isascii()
    shown = Tags(html)
    assert {tag for tag, _ in shown.tags} <= {"div", "hr", "a", "img"}
    assert not any(name.startswith("on") for _, attrs in shown.tags for name in attrs)
    assert "Page 1, of 134 tasks" in shown.text
    assert shown.text.count("Task 20") == 2


@pytest.mark.parametrize("url", ["http://a.test/b.png", "javascript:alert(1)", "file:///b.png", "mj/key.png", "", None])
def test_a_notebook_loads_images_by_https_only(url: str | None) -> None:
    """What is no https URL is no image; the other way's image is shown where that has one."""
    assert "img" not in {tag for tag, _ in Tags(task(stored_image_url=url)._repr_html_()).tags}
    both = Tags(task(stored_image_url=url, image_url="https://a.test/b.png")._repr_html_())
    assert [attrs["src"] for tag, attrs in both.tags if tag == "img"] == ["https://a.test/b.png"]
