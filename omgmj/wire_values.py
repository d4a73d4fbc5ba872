"""Values of a record on their way in and out: one hook reads each, and one writes it where JSON has no such value.

A hook is called with a JSON value, and with null only where its line in `records` says that null is none. What it
cannot read it refuses with `WrongFieldError`, which may name another value to be read instead. What becomes of a
refused value is decided in `records`.
"""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import NoneType
from typing import Any, TypeGuard
from urllib.parse import quote

from omgmj.enums import Kind, Status

ID_LIMIT = 2**63
"""All task IDs are below this, and above 0."""
WORD = 64
"""Characters of a status, kind or pool that are kept: it is a word, whatever the service sends."""
STORE = "https://pi.ohmygpt.com/api/v1/content/mj-generated/"
"""Where an image lies of which a record tells a key only [C]."""

STATUSES = {status.value: status for status in Status}
KINDS = {kind.value: kind for kind in Kind}
POOLS = {name: name for name in ("NORMAL", "FAST")}
PERCENTS = {f"{number}%": number for number in range(101)}
TIMES: dict[str, datetime] = {}
"""What was read lately: a task's times are the same from poll to poll, and tasks made together share them."""
_TIMES_KEPT = 1000
"""So many times are remembered at most; then all are forgotten."""
_LONGEST_TIME = 40
"""Characters of a time: one with more digits than that is none, and is not remembered either."""
_FIRST = datetime(2000, 1, 1, tzinfo=UTC)
"""The first time that is one: what lies before is somebody's zero."""
_FIRST_MILLISECOND = 10**11
"""Numbers from here on count milliseconds since 1970, and those below seconds."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PERCENT = re.compile(r"\s*([0-9]{1,3})(?:\.[0-9]*)?\s*%?\s*")
_DIGITS = re.compile(r"[0-9]{1,19}", re.ASCII)
_URL = re.compile(r"https?://[^/\s]", re.IGNORECASE)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_JSON_TYPES = {
    dict: "an object",
    list: "a list",
    str: "a string",
    int: "a whole number",
    float: "a number that is not whole",
    bool: "a boolean",
    NoneType: "null",
}


class WrongFieldError(Exception):
    """What is wrong, at which place below the value that was read (`.actions[2]`), and what may be read instead."""

    def __init__(self, what: str, place: str = "", instead: object = None) -> None:
        super().__init__(what, place)
        self.what = what
        self.place = place
        self.instead = instead


def json_type(value: object) -> str:
    """Say of what JSON type `value` is, with its article, for messages."""
    return _JSON_TYPES.get(type(value), type(value).__name__)


def number_of(value: object) -> int | None:
    """Return a whole number, also one that is written as a string of ASCII digits; None for all else."""
    if type(value) is int:
        return value
    return int(value) if type(value) is str and _DIGITS.fullmatch(value) else None


def id_of(value: object) -> int | None:
    """Return a task's ID, as a number or in digits; None where the value is none."""
    number = number_of(value)
    return number if number is not None and 0 < number < ID_LIMIT else None


def is_url(text: str | None) -> TypeGuard[str]:
    """Whether a text is an http or https URL with a host."""
    return text is not None and _URL.match(text) is not None


def short(text: str, most: int = WORD) -> str:
    """Return a text of the service, cut where it is longer than a word, or than so many characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def read_text(value: Any) -> str:
    """Read a string; of an object or a list its JSON text."""
    if type(value) is str:
        return value
    if type(value) in (dict, list):
        try:
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        except (TypeError, ValueError, RecursionError):
            raise WrongFieldError(f"is {json_type(value)} that cannot be written as text") from None
    raise WrongFieldError(f"is {json_type(value)}, not a string")


def read_string(value: Any) -> str:
    """Read a string, and nothing else."""
    if type(value) is str:
        return value
    raise WrongFieldError(f"is {json_type(value)}, not a string")


def read_label(value: Any) -> str:
    """Read what an action is shown as: anything but a string is empty."""
    return value if type(value) is str else ""


def read_word(value: Any) -> str:
    """Read a word of the service."""
    return short(read_string(value))


def read_kind(value: Any) -> str:
    """Read the kind of a task, a known one as a member of `Kind`."""
    word = read_word(value)
    return KINDS.get(word, word)


def read_status(value: Any) -> str:
    """Read a status: a known one in any case, with blanks round it or not; another stays as it came."""
    word = read_word(value)
    return STATUSES.get(word.strip().upper(), word)


def write_word(word: StrEnum | str | None) -> str | None:
    """Write a word as a plain string."""
    return None if word is None else str(word)


def read_id(value: Any) -> int:
    """Read a task's ID."""
    number = id_of(value)
    if number is not None:
        return number
    if value is None:
        raise WrongFieldError("is missing, and no ID was asked for")
    if type(value) is int:
        raise WrongFieldError("is not between 1 and 2**63 - 1")
    raise WrongFieldError(f"is {json_type(value)}, not a whole number")


def read_progress(value: Any) -> int | None:
    """Read `"46.5%"`, 46.5 or 46 as 46; an empty string says nothing yet."""
    number: float = -1
    if type(value) is str:
        if not value.strip():
            return None
        match = _PERCENT.fullmatch(value)
        number = int(match[1]) if match else -1
    elif type(value) is int or type(value) is float:
        number = value
    else:
        raise WrongFieldError(f"is {json_type(value)}, not a percentage")
    if 0 <= number < 101:
        return math.floor(number)
    raise WrongFieldError(f"is {json_type(value)} that is no percentage")


def write_progress(progress: int | None) -> str | None:
    """Write a percentage as the service does."""
    return None if progress is None else f"{progress}%"


def read_time(value: Any) -> datetime | None:
    """Read ISO 8601, or seconds or milliseconds since 1970; an empty string and 0 are a point not reached."""
    number = number_of(value)
    if value == "" or number == 0:
        return None
    if number is not None:
        return _in_this_age(_time_of_number(number))
    if type(value) is str:
        return _time_of_text(value)
    raise WrongFieldError(f"is {json_type(value)}, not a time")


def _time_of_number(number: int) -> datetime:
    try:
        unit = timedelta(seconds=1) if number < _FIRST_MILLISECOND else timedelta(milliseconds=1)
        return _EPOCH + number * unit
    except OverflowError:
        raise WrongFieldError("is a number out of range, not a time") from None


def _time_of_text(text: str) -> datetime:
    """Read ISO 8601, and remember what was read."""
    try:
        if len(text) > _LONGEST_TIME:
            raise ValueError
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not UTC:
            moment = _in_utc(moment)
    except (ValueError, OverflowError):
        raise WrongFieldError("is a string that is no time") from None
    moment = _in_this_age(moment)
    if len(TIMES) >= _TIMES_KEPT:
        TIMES.clear()
    TIMES[text] = moment
    return moment


def _in_this_age(moment: datetime) -> datetime:
    """Return a time; refuse one that lies so far back that it is the zero of a clock, as a point not reached."""
    if moment < _FIRST:
        raise WrongFieldError("is before the year 2000, as if it were not reached")
    return moment


def _in_utc(moment: datetime) -> datetime:
    """Return a time in UTC; without a zone it is taken for UTC: the zone of the machine here must not matter."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def write_time(moment: datetime | None) -> str | None:
    """Write a time as the service does, in UTC with milliseconds and Z; with more digits where it has more."""
    if moment is None:
        return None
    moment = _in_utc(moment)
    precision = "microseconds" if moment.microsecond % 1000 else "milliseconds"
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")


def read_url(value: Any) -> str | None:
    """Read an http or https URL; an empty string is none."""
    if type(value) is str and (not value or is_url(value)):
        return value or None
    raise WrongFieldError(f"is {json_type(value)} that is no URL")


def read_stored_url(value: Any) -> str | None:
    """Read a URL, or the key of an image in the service's store as the URL that it has there."""
    if type(value) is not str or not value.strip() or is_url(value):
        return read_url(value)
    if value.startswith("//"):
        return read_url(f"https:{value}")
    if _SCHEME.match(value):
        return read_url(value)
    return STORE + quote(value.strip().lstrip("/"), safe="/?=&%+,;:@!$'()*~", errors="replace")
