"""How long an answer is waited for: what is late is given up early, and a service that is slow is not asked twice."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omgmj.backoff.answer_times import ENOUGH, FACTOR, LEAST, SHARE, AnswerTimes


def learned(seconds: float, count: int = 200) -> AnswerTimes:
    times = AnswerTimes()
    for _ in range(count):
        times.saw_answer(seconds)
    return times


def test_nothing_is_said_before_enough_came() -> None:
    """Before some dozens of answers came, no request is given up early."""
    assert learned(0.1, ENOUGH).patience(0) == math.inf
    assert learned(0.1).patience(0) == LEAST


@pytest.mark.parametrize("usual", [1.0, 5.0])
def test_it_waits_for_several_times_the_usual(usual: float) -> None:
    """The patience is several times what answers take, doubled for each silence of the same subject."""
    times = learned(usual)
    assert times.patience(0) == pytest.approx(FACTOR * usual, rel=0.15)
    assert times.patience(2) == 4 * times.patience(0)


def test_a_service_that_gets_slow_is_not_asked_twice() -> None:
    """Where all answers take ten seconds all at once, at most a tenth is given up early, and soon none is."""
    times = learned(0.1, 1000)
    early = 0
    for _ in range(2000):
        if times.patience(0) < 10.0:
            times.saw_silence()
            early += 1
        else:
            times.saw_answer(10.0)
    assert early < SHARE * 2000
    assert times.patience(0) > 10.0


def test_silence_hides_no_answer() -> None:
    """Of answers of which one in twenty never comes, each silence is given up early."""
    chance, times = random.Random(1), learned(0.1)
    patience = []
    for _ in range(5000):
        if chance.random() < 0.05:
            patience.append(times.patience(0))
            times.saw_silence()
        else:
            times.saw_answer(chance.uniform(0.05, 0.3))
    assert max(patience) < 2.5


@given(st.lists(st.one_of(st.none(), st.floats(0.0, 60.0)), max_size=500))
def test_no_more_than_its_share_is_given_up(answers: list[float | None]) -> None:
    """However answers come and stay out, what is given up early is at most a tenth of them and a few."""
    times, early = AnswerTimes(), 0
    for seconds in answers:
        if seconds is None and times.patience(0) < math.inf:
            times.saw_silence()
            early += 1
        elif seconds is not None:
            times.saw_answer(seconds)
    assert early <= SHARE * len(answers) + 1
