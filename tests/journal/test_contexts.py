"""Contexts and submissions as JSON."""

from __future__ import annotations

import enum
import json
import sys
import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omgmj.errors import UsageError
from omgmj.journal import contexts
from omgmj.journal.contexts import DEPTH, decode, decode_submission, encode, encode_submission
from omgmj.models import Submission

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


class Colour(enum.Enum):
    """What orjson writes as its value, and JSON has not."""

    RED = "red"


@pytest.fixture(params=["orjson", "json"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run with orjson, and without it."""
    if request.param == "json":
        monkeypatch.setitem(sys.modules, "orjson", None)


def deep(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@given(st.lists(JSON, max_size=5))
def test_what_is_json_comes_back_as_it_was(values: list[Any]) -> None:
    """Numbers beyond 64 bits, half characters and empty values too, by either encoder, many at a time."""
    for texts in (encode(values), [json.dumps(value) for value in values]):
        assert decode(texts) == values


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize(
    "value",
    [None, "", "\ud800", "\0", "é", 2**64, -(2**70), 1e308, [], {}, {"": {"a": [None, True, "null"]}}, deep(DEPTH)],
)
def test_odd_values_come_back(value: Any) -> None:
    """By either encoder, beside another."""
    assert decode(encode([value, 1])) == [value, 1]


@pytest.mark.usefixtures("decoder")
def test_a_tuple_comes_back_as_a_list() -> None:
    """That much JSON changes, and no more."""
    assert decode(encode([(1, {"a": (2, 3)})])) == [[1, {"a": [2, 3]}]]


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize(
    ("value", "why"),
    [
        (float("nan"), "nan is no number of JSON"),
        ({"a": float("inf")}, "inf is no number of JSON"),
        ({1: 2}, "a key must be a string, not 1"),
        (uuid.UUID(int=1), "is a UUID"),
        (Colour.RED, "is a Colour"),
        (datetime(2026, 1, 2, tzinfo=UTC), "is a datetime"),
        (Submission("IMAGINE"), "is a Submission"),
        ({1, 2}, "is a set"),
        (b"bytes", "is a bytes"),
        (deep(DEPTH + 1), "nested more than"),
        (deep(100_000), "nested more than"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value[:20],
)
def test_what_is_not_json_is_refused_by_its_id(value: Any, why: str) -> None:
    """By either encoder, also what it would take, or change in silence; the text names the ID."""
    with pytest.raises(UsageError, match=f"the context of task 21 is not JSON: .*{why}"):
        encode([{}, value], [20, 21])


def test_a_context_alone_has_no_id_to_name() -> None:
    """A submission has none yet."""
    with pytest.raises(UsageError, match="the context is not JSON"):
        encode([object()])


@pytest.mark.parametrize("text", ["{", "1,2", "", "\ufffd", "[" * 100_000])
def test_a_damaged_context_is_none(text: str) -> None:
    """The others of its page are not touched by it."""
    assert decode(['{"a":1}', text, None, "2"]) == [{"a": 1}, None, None, 2]


def test_a_submission_comes_back() -> None:
    """All of its fields, times with their zones."""
    east = timezone(timedelta(hours=3))
    full = Submission(
        kind="ACTION",
        prompt="a \ud800 cat",
        pool="FAST",
        parent_id=2**62,
        custom_id="MJ::1",
        images=2,
        webhook="https://a.test/secret",
        sent_at=datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=east),
        served_at=datetime(2026, 1, 2, tzinfo=UTC),
    )
    assert all(value for value in attrs.astuple(full)), "a new field needs a value here"
    for submission in (full, Submission("IMAGINE")):
        assert decode_submission(encode_submission(submission)) == submission


def test_a_submission_of_a_newer_version_is_read() -> None:
    """A field that is not known is left out."""
    assert decode_submission('{"kind":"IMAGINE","mood":"good"}') == Submission("IMAGINE")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"kind":"IMAGINE","sent_at":"then"}'])
def test_a_damaged_submission_is_an_error(text: str) -> None:
    """Each in the one way that is caught."""
    with pytest.raises(ValueError, match=r"."):
        decode_submission(text)


def test_many_are_encoded_at_once() -> None:
    """The quick way is taken for what bots keep."""
    assert contexts._encode_quickly([{"chat": 1, "message": "é"}] * 3) is not None
