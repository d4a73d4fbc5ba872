"""What the headers of an answer say of time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from omgmj.errors import ServiceError
from omgmj.protocol.messages import Answer
from omgmj.protocol.responses import ages, read_query, retry_after, served_at

DATE = "Thu, 31 Aug 2023 14:00:14 GMT"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 1.5 ", 1.5),
        ("999999999", 999_999_999.0),
        ("1693490424", 10.0),  # the epoch second of a moment
        ("1693490424.5", 10.5),
        ("1693490413", 0.0),
        ("Thu, 31 Aug 2023 14:00:44 GMT", 30.0),
        ("Thursday, 31-Aug-23 14:00:44 GMT", 30.0),
        ("Thu Aug 31 14:00:44 2023", 30.0),
        ("Thu, 31 Aug 2023 13:00:00 GMT", 0.0),
        *((rubbish, None) for rubbish in ("", "-5", "nan", "inf", "1e3", "1_0", "٣", "soon", "9" * 400, "+5")),
        ("Mon, 01 Jan 99999999999 00:00:00 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 -2300", None),
    ],
)
def test_retry_after(header: str, seconds: float | None) -> None:
    """The hint is seconds, or a date or an epoch second against the answer's own Date; rubbish is none."""
    headers = {"retry-after": header, "date": DATE}
    assert retry_after(headers) == seconds
    with pytest.raises(ServiceError) as caught:
        read_query(Answer(503, headers, b""), 20)
    assert caught.value.retry_after == seconds


def test_retry_after_needs_something_to_count_from() -> None:
    """Without the answer's own Date a date says nothing: the clock of this machine may be off."""
    assert retry_after({"retry-after": DATE}) is None
    assert retry_after({"retry-after": "1693490424"}) is None
    assert retry_after({"retry-after": DATE, "date": "soon"}) is None
    assert retry_after({}) is None


def test_served_at() -> None:
    """The service's own clock is read from the Date header, rubbish and a missing one say nothing."""
    assert served_at({"date": DATE}) == datetime(2023, 8, 31, 14, 0, 14, tzinfo=UTC)
    assert served_at({"date": "yesterday"}) is None
    assert served_at({}) is None


@pytest.mark.parametrize(
    ("after", "seconds"),
    [(0, 0.0), (60, 60.0), (-5, -5.0), (-28_800, -28_800.0), (86_400, 86_400.0), (86_401, None), (-86_401, None)],
)
def test_ages(after: float, seconds: float | None) -> None:
    """A task's age is counted by the service's clock alone, below 0 where that is behind, and unknown for odd dates."""
    now = datetime(2023, 8, 31, 14, 0, 14, tzinfo=UTC)
    started_at = now - timedelta(seconds=after)
    assert ages({"date": DATE}, started_at, None) == (seconds, None)
    assert ages({"date": "soon"}, started_at) == ages({}, started_at) == (None,)
