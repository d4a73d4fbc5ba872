"""What failed polls in a row at one ID mean."""

from __future__ import annotations

import math

import pytest

from omgmj.backoff import Retry
from omgmj.errors import DecodeError, OmgmjError, RateLimited, TaskNotFound, TransportError
from omgmj.protocol.failures import Meaning
from omgmj.scheduler.verdicts import UNKNOWN, UNREADABLE, WHATEVER, FailedPoll, Failures, Patience, Verdicts

BLIP = TransportError("broken")


def failures(*polls: tuple[float, Meaning], error: OmgmjError = BLIP) -> Failures:
    """Return what these failed polls make."""
    made = Failures(polls[0][0])
    for now, meaning in polls:
        made.add(error, meaning, now)
    return made


@pytest.mark.parametrize(
    ("times", "hopeless"),
    [((0, 5, 10), True), ((0, 5, 9.9), False), ((0, 10), False), ((0, 1, 2, 3, 10), True)],
)
def test_a_no_is_believed_after_three_polls_over_ten_seconds(times: tuple[float, ...], *, hopeless: bool) -> None:
    """A service that says no about an ID is believed after three polls over 10 s of nothing else."""
    made = failures(*((now, Meaning.TASK) for now in times), error=TaskNotFound("no"))
    assert made.is_hopeless(times[-1], -math.inf, UNKNOWN) is hopeless


def test_another_failure_in_between_starts_the_count_of_a_kind_anew() -> None:
    """`Of nothing else`: what failed otherwise in between says nothing about the ID, and the three begin again."""
    made = failures((0, Meaning.TASK), (5, Meaning.TASK), (8, Meaning.TRANSIENT), (10, Meaning.TASK))
    assert not made.is_hopeless(10, -math.inf, UNKNOWN)
    made.add(BLIP, Meaning.TASK, 15)
    assert not made.is_hopeless(15, -math.inf, UNKNOWN)
    made.add(BLIP, Meaning.TASK, 20)
    assert made.is_hopeless(20, -math.inf, UNKNOWN)


def test_seconds_of_a_kind_count_from_its_first_poll() -> None:
    """The 10 s are those of the kind that came last; what failed otherwise before does not lengthen them."""
    made = failures((0, Meaning.TRANSIENT), (8, Meaning.TASK), (9, Meaning.TASK), (10, Meaning.TASK))
    assert not made.is_hopeless(10, -math.inf, UNKNOWN)
    assert made.is_hopeless(18, -math.inf, UNKNOWN)


def test_what_cannot_be_read_is_asked_again_twice() -> None:
    """A garbled answer is believed at the third time, however quickly they came."""
    made = failures((0, Meaning.GARBLED), (0, Meaning.GARBLED), error=DecodeError("?"))
    assert not made.is_hopeless(0, -math.inf, UNREADABLE)
    made.add(DecodeError("?!"), Meaning.GARBLED, 0)
    assert made.is_hopeless(0, -math.inf, UNREADABLE)
    assert str(made.error) == "?!"


@pytest.mark.parametrize(
    ("polls", "over", "success", "hopeless"),
    [(8, 600, 300, True), (7, 600, 300, False), (8, 599, 300, False), (8, 600, 0, False), (100, 9999, -1, False)],
)
def test_other_failures_take_eight_polls_ten_minutes_and_others_that_succeed(
    polls: int, over: float, success: float, *, hopeless: bool
) -> None:
    """An ID is given up after 8 failed polls in a row over 10 minutes, and only where others succeed."""
    times = [over * i / (polls - 1) for i in range(polls)]
    made = failures(*((now, Meaning.TRANSIENT) for now in times))
    assert made.is_hopeless(over, success, None) is hopeless
    assert made.count == polls


def test_polls_are_spaced_so_that_the_last_one_decides() -> None:
    """Three polls over 10 s are 5 s apart."""
    assert UNKNOWN.spacing == 5.0
    assert Patience(8, 70.0).spacing == 10.0
    assert WHATEVER == (8, 600.0)


def test_what_is_noted_does_not_count() -> None:
    """An error that says nothing about the ID is kept, and neither counts nor starts the time of those that do."""
    made = Failures(0)
    made.note(BLIP)
    assert (made.count, made.error) == (0, BLIP)
    times = [50 + 100 * i for i in range(WHATEVER.polls)]
    for now in times:
        assert not made.is_hopeless(now, now, None)
        made.add(BLIP, Meaning.TRANSIENT, now)
        made.note(BLIP)
    assert (made.count, made.since) == (WHATEVER.polls, 50)
    assert made.is_hopeless(times[-1], times[-1], None)


def test_what_is_noted_ends_a_run() -> None:
    """`Of nothing else`: what says nothing about the ID, as a 429 or an outage, stands between two refusals."""
    made = failures((0, Meaning.TASK), (5, Meaning.TASK), error=TaskNotFound("no"))
    made.note(BLIP)
    made.add(TaskNotFound("no"), Meaning.TASK, 10)
    assert not made.is_hopeless(10, 10, UNKNOWN)
    made.add(TaskNotFound("no"), Meaning.TASK, 15)
    made.add(TaskNotFound("no"), Meaning.TASK, 20)
    assert made.is_hopeless(20, 20, UNKNOWN)


def test_when_a_refused_poll_is_made_again() -> None:
    """At once where the rate holds all anyway; after its own Retry-After; like a failed one where it is odd."""
    verdicts = Verdicts(Retry(initial=1.0, jitter=0.0))

    def delay(seconds: float | None, *, odd: bool) -> float:
        poll = FailedPoll(RateLimited("no", retry_after=seconds), Meaning.PACED, 0.0, outage=False, odd=odd)
        return verdicts.delay_after(7, poll, 0.0, 0.0)

    assert delay(None, odd=False) == 0.0
    assert delay(12.0, odd=False) == 12.0
    assert [delay(None, odd=True) for _ in range(3)] == [1.0, 2.0, 4.0]
    assert delay(60.0, odd=True) == 60.0
