"""What the headers of an answer say of time: when it was made, and for how long the service asks to be left alone.

Headers come under lower-case names. What a status means is judged in `protocol`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

_DAY = 86_400.0
_AHEAD = 5.0  # seconds by which the clocks of one service may differ
_EPOCH = 1e9  # seconds: nobody asks to be left alone for 30 years
_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds for which the service asks to be left alone, None where it does not say.

    The header holds seconds, a date, or the epoch second of one, as some gateways send it. A date counts from the
    answer's own `Date`, and is 0 where it has passed.
    """
    text = headers.get("retry-after")
    if text is None:
        return None
    until: float | None = None
    if _SECONDS.fullmatch(text.strip()):
        until = float(text)
        if until < _EPOCH:
            return until
    elif (moment := _http_date(text)) is not None:
        until = moment.timestamp()
    now = served_at(headers)
    return max(0.0, until - now.timestamp()) if until is not None and math.isfinite(until) and now is not None else None


def served_at(headers: Mapping[str, str]) -> datetime | None:
    """Return when the service answered, by its own clock; None where it does not say."""
    text = headers.get("date")
    return None if text is None else _http_date(text)


def age(moment: datetime | None, headers: Mapping[str, str]) -> float | None:
    """Return the seconds from a moment of a record to its answer, both by the service's clock; None where not told.

    A moment some seconds ahead, or more than a day ago, is taken for a clock, or a time zone, that is off.
    """
    now = None if moment is None else served_at(headers)
    if now is None or moment is None:
        return None
    seconds = (now - moment).total_seconds()
    return max(0.0, seconds) if -_AHEAD <= seconds <= _DAY else None


@lru_cache(maxsize=64)
def _http_date(text: str) -> datetime | None:
    """Read an HTTP date; the cache is for the many answers of one second."""
    try:
        moment = parsedate_to_datetime(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
