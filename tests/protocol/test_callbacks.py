"""What callbacks claim: an end, that the task goes on, or nothing that can be read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omgmj.errors import UsageError
from omgmj.protocol.callbacks import Callback, read_callback


@pytest.mark.parametrize("payload", [{"taskId": 5}, b'{"taskId": 5, "status": "SUCCESS"}', '{"taskId":"5"}'])
def test_a_body_names_its_task(payload: dict[str, Any] | bytes | str) -> None:
    """A webhook's body is taken as a mapping, as bytes and as text."""
    assert read_callback(payload) == Callback(5)


@pytest.mark.parametrize(
    "payload", [{}, [], None, b"", "", b"[1]", "{", "\ud800", {"taskId": "x"}, {"taskId": True}, b'{"taskId": -1}', 5]
)
def test_a_body_without_a_task(payload: Any) -> None:
    """What names no task is a `UsageError`, whatever it is."""
    with pytest.raises(UsageError):
        read_callback(payload)


@pytest.mark.parametrize(
    ("claim", "progress"),
    [
        ({"status": "NOT_START", "progress": None}, None),
        ({"status": "SUBMITTED"}, None),
        ({"status": "IN_PROGRESS", "progress": "46%"}, 46),
        ({"status": "IN_PROGRESS", "progress": "-5%"}, None),
        ({"status": "IN_PROGRESS", "progress": "1e9%"}, None),
        ({"status": "IN_PROGRESS", "progress": 10**30}, None),
        ({"status": "MODAL", "actions": 7}, None),
        ({"status": "WHO_KNOWS", "progress": "46%"}, 46),
    ],
)
def test_a_task_that_goes_on(claim: dict[str, Any], progress: int | None) -> None:
    """A status that ends nothing, or progress with a word that is not known, claims that the task goes on."""
    assert read_callback({"taskId": 5, **claim}) == Callback(5, goes_on=True, progress=progress)


@pytest.mark.parametrize(
    "claim",
    [
        {"status": "SUCCESS", "progress": "100%"},
        {"status": "FAILURE", "progress": "31%"},
        {"status": "CANCEL"},
        {"status": "WHO_KNOWS"},
        {"status": "WHO_KNOWS", "progress": "46%", "finishTime": 1700000000000},
        {"status": ["IN_PROGRESS"], "progress": "46%"},
        {"status": None},
    ],
)
def test_an_end_or_nothing(claim: dict[str, Any]) -> None:
    """An end, and what cannot be read, do not claim that the task goes on."""
    assert read_callback({"taskId": 5, **claim}) == Callback(5)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_FIELDS = ("status", "progress", "finishTime", "startTime", "actions", "failReason", "action", "webhookUrl", "data")


@given(st.dictionaries(st.sampled_from(_FIELDS), _JSON))
def test_any_record_is_read(record: dict[str, Any]) -> None:
    """Whatever else stands beside a task's ID, the body is a callback of it, with a percentage or none."""
    for payload in ({"taskId": 7, **record}, json.dumps({"taskId": 7, **record}).encode()):
        callback = read_callback(payload)
        assert callback.task_id == 7
        assert callback.progress is None or 0 <= callback.progress <= 100
