"""What users hand in: which numbers, IDs and base URLs are taken, and what is said of the others."""

from __future__ import annotations

import math
from datetime import datetime

import pytest

from omgmj.errors import UsageError
from omgmj.validation import (
    brief,
    check_page,
    check_rate,
    check_seconds,
    check_since,
    check_task_id,
)

BAD_NUMBERS = [math.nan, math.inf, -math.inf, -1, -0.001, 10**400, True, False, "3", b"3", None, [1], 1j]


@pytest.mark.parametrize("value", BAD_NUMBERS)
def test_bad_seconds_are_refused(value: object) -> None:
    """NaN, infinite, negative, too large and what is no number is a `UsageError` that names the argument."""
    for zero in (False, True):
        with pytest.raises(UsageError, match=r"^timeout must be a finite number of seconds, "):
            check_seconds("timeout", value, zero=zero)
    with pytest.raises(UsageError, match=r"^rate must be a finite number of requests a second, above 0; got "):
        check_rate("rate", value)


def test_good_seconds_are_floats() -> None:
    """Integers and floats are taken; 0 and None only where they make sense."""
    assert check_seconds("timeout", 3) == 3.0
    assert isinstance(check_seconds("timeout", 3), float)
    assert check_seconds("timeout", 0, zero=True) == 0.0
    assert check_seconds("timeout", None, none=True) is None
    assert check_rate("rate", 0.25) == 0.25
    with pytest.raises(UsageError, match=r"^interval must be a finite number of seconds, above 0; got 0\.0$"):
        check_seconds("interval", 0)
    with pytest.raises(UsageError, match=r"above 0; got 0\.0$"):
        check_rate("rate", 0)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (math.nan, "nan"),
        pytest.param(10**5000, "an integer that is too large", id="huge"),
        (True, "True"),
        ("3" * 1000, "'333333333333...3333333333333'"),
        ([1], "list"),
    ],
)
def test_messages_show_what_was_given_and_stay_short(value: object, shown: str) -> None:
    """The message says the rule and what was given, whatever its size."""
    with pytest.raises(UsageError) as caught:
        check_seconds("timeout", value, zero=True, none=True)
    assert str(caught.value) == f"timeout must be a finite number of seconds, 0 or more, or None; got {shown}"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "None"),
        ("12", "'12'"),
        (datetime(2026, 1, 1, 12, 30), "datetime.datetime(2026, 1, 1, 12, 30)"),  # noqa: DTZ001 (that is what is wrong)
        (2**64, "18446744073709551616"),
        pytest.param(-(10**5000), "a number of 16610 bits", id="huge"),
    ],
)
def test_what_is_refused_is_shown(value: object, shown: str) -> None:
    """A message shows what was given, also a number that Python does not write out."""
    assert brief(value) == shown
    for check in (check_since, check_page):
        with pytest.raises(UsageError) as caught:
            check(value)
        assert str(caught.value).endswith(f"not {shown}")


def test_what_is_refused_is_shown_in_brief() -> None:
    """Of what is long a message shows the ends."""
    for check in (check_since,):
        with pytest.raises(UsageError) as caught:
            check("x" * 100_000)
        assert len(str(caught.value)) < 200
    assert len(brief(["x" * 1000] * 1000)) < 1000


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (1, 1),
        (2**63 - 1, 2**63 - 1),
        ("3432", 3432),
        ("9223372036854775807", 2**63 - 1),
        pytest.param("0" * 5000 + "5", 5, id="zeros"),
    ],
)
def test_task_ids(value: object, number: int) -> None:
    """A task's ID is an int or a string of ASCII digits, from 1 to 2**63 - 1."""
    assert check_task_id(value) == number


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "True"),
        (0, "0"),
        (-5, "-5"),
        (2**63, "9223372036854775808"),
        pytest.param(10**5000, "a number of 16610 bits", id="huge"),
        (5.0, "5.0"),
        (float("nan"), "nan"),
        ("", "''"),
        ("0", "'0'"),
        (" 5", "' 5'"),
        ("5\n", "'5\\n'"),
        ("-5", "'-5'"),
        ("1_0", "'1_0'"),
        ("٣", "'\\u0663'"),
        ("²", "'\\xb2'"),
        ("9223372036854775808", "'9223372036854775808'"),
        pytest.param("9" * 5000, "9999'… (5000 characters)", id="long"),
        (None, "NoneType"),
        (b"5", "bytes"),
        ([5], "list"),
    ],
)
def test_what_is_no_task_id(value: object, shown: str) -> None:
    """What is no ID is refused before anything is sent, by a short message that says what was given."""
    with pytest.raises(UsageError, match="task ID") as caught:
        check_task_id(value)
    assert str(caught.value).endswith(shown)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("value", [0, -1, True, 2**63, 10**40, 1.0, "1", None])
def test_what_is_no_page(value: object) -> None:
    """Pages are counted from 1 in whole numbers; anything else is refused with what was given, before it is sent."""
    with pytest.raises(UsageError, match="from 1, not ") as caught:
        check_page(value)
    assert len(str(caught.value)) < 100
    assert [check_page(number) for number in (1, 2**63 - 1)] == [1, 2**63 - 1]
