"""What users hand in: numbers, IDs and the base URL, checked where they enter, before anything is done with them.

Each check returns what it was given in the one form that is used inside, or raises `UsageError` with a text that says
what is wanted and what came instead. The size of a page is checked in `protocol.messages`, what creates a task in
`protocol.submissions`, images in `images.uploads`.
"""

from __future__ import annotations

import ipaddress
import math
import reprlib
from datetime import datetime
from typing import Literal, overload

from omgmj.errors import UsageError
from omgmj.wire_values import ID_LIMIT

_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = 80


def brief(value: object) -> str:
    """Show a wrong argument, whatever it is and however long, in a message that refuses it."""
    if isinstance(value, int) and value.bit_length() >= 100:
        return f"a number of {value.bit_length()} bits"  # Python may refuse to write it out.
    return _BRIEF.repr(value)


@overload
def check_seconds(name: str, value: object, *, zero: bool = False, none: Literal[False] = False) -> float: ...


@overload
def check_seconds(name: str, value: object, *, zero: bool = False, none: Literal[True]) -> float | None: ...


def check_seconds(name: str, value: object, *, zero: bool = False, none: bool = False) -> float | None:
    """Return `value` as seconds, or raise `UsageError` with a text that begins with `name`.

    Taken are finite numbers above 0, with `zero` also 0, with `none` also None.
    """
    if none and value is None:
        return None
    rule = "0 or more" if zero else "above 0"
    return check_number(name, value, f"a finite number of seconds, {rule}{', or None' if none else ''}", zero=zero)


def check_rate(name: str, value: object) -> float:
    """Return `value` as requests a second, or raise `UsageError` unless it is a finite number above 0."""
    return check_number(name, value, "a finite number of requests a second, above 0", zero=False)


def check_count(name: str, value: object) -> int:
    """Return `value` as a whole number, or raise `UsageError` unless it is 1 or more."""
    rule = "a whole number, 1 or more"
    if check_number(name, value, rule, zero=True) < 1 or not isinstance(value, int):
        raise UsageError(f"{name} must be {rule}; got {value!r}")
    return value


def check_number(name: str, value: object, rule: str, *, zero: bool) -> float:
    """Return `value` as a float, or raise `UsageError` unless it is a finite number above 0, with `zero` also 0."""
    shown = type(value).__name__
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            shown = "an integer that is too large"
        else:
            if math.isfinite(number) and (number > 0 or (zero and number == 0)):
                return number
            shown = repr(number)
    elif isinstance(value, bool | str):
        shown = reprlib.repr(value)
    raise UsageError(f"{name} must be {rule}; got {shown}")


def check_task_id(value: object) -> int:
    """Return `value`, an int or a string of ASCII digits, as a task's ID; `UsageError` where it is none."""
    if type(value) is int and 0 < value < ID_LIMIT:
        return value
    number = 0
    if isinstance(value, int) and not isinstance(value, bool):
        number = int(value)
        shown = str(number) if number.bit_length() < 100 else f"a number of {number.bit_length()} bits"
    elif isinstance(value, str):
        shown = ascii(value) if len(value) <= 40 else f"{value[:40]!a}… ({len(value)} characters)"
        digits = value.lstrip("0") or "0"
        # No more digits than an ID has: int() is slow, and then refuses, where a string is very long.
        if value.isascii() and value.isdigit() and len(digits) <= 19:
            number = int(digits)
    else:
        shown = f"{value!r}" if isinstance(value, bool | float) else type(value).__name__
    if not 0 < number < ID_LIMIT:
        raise UsageError(f"a task ID is a whole number from 1 to 2**63 - 1, as an int or in ASCII digits, not {shown}")
    return number


def check_since(since: object) -> datetime:
    """Return `since`; `UsageError` unless it is a datetime with a time zone."""
    if not isinstance(since, datetime) or since.utcoffset() is None:
        raise UsageError(f"since must be a datetime with a time zone, such as datetime.now(UTC), not {brief(since)}")
    return since


def check_page(number: object) -> int:
    """Return `number` as that of a page of the list, which begin with 1; `UsageError` where it is none."""
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < ID_LIMIT:
        raise UsageError(f"a page is a whole number from 1, not {brief(number)}")
    return int(number)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_token(value: object) -> str:
    """Return a token, less the line end that files have; `UsageError` unless it is one run of visible ASCII."""
    where = "pass it as Session(token) or set OMGMJ_TOKEN in the environment"
    if not isinstance(value, str):
        raise UsageError(f"the token must be a string, not {type(value).__name__}; {where}")
    value = value.rstrip("\r\n")
    if not value.strip():
        raise UsageError(f"the token is missing or empty; {where}")
    if not all("!" <= character <= "~" for character in value):
        raise UsageError(f"the token holds a space, a line break or a character beyond printable ASCII; {where}")
    return value
