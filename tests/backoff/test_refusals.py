"""Whose a 429 is: the subject's that is refused while others are not, or everybody's."""

from __future__ import annotations

import random
from collections.abc import Hashable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omgmj.backoff.refusals import MOST
from omgmj.backoff.refusals import Refusals as Bare


class Refusals(Bare):
    """Refusals that count by themselves what passed."""

    passed = 0

    def on_success(self, subject: Hashable) -> None:
        self.passed += 1
        super().on_success(subject)

    def refuse(self, subject: Hashable, now: float, retry_after: float | None) -> bool:
        """Refuse a request."""
        return self.on_429(subject, now, retry_after, self.passed)


def test_the_odd_one_is_found() -> None:
    """Who is refused twice while many others are answered is the odd one, until it is answered."""
    refusals = Refusals()
    assert not refusals.refuse(7, 0.0, 60.0)
    for other in range(100, 120):
        refusals.on_success(other)
    assert refusals.refuse(7, 61.0, 60.0)
    assert refusals.is_odd(7)
    assert not refusals.is_odd(8)
    refusals.on_success(7)
    assert not refusals.is_odd(7)
    assert refusals.held_for(7, 62.0) == 0.0


def test_who_is_alone_is_not_odd() -> None:
    """With nobody to set it beside, a 429 is everybody's, however often it comes."""
    refusals = Refusals()
    assert not any(refusals.refuse(7, float(now), None) for now in range(1000))


@given(st.integers(0, 1000), st.floats(0.5, 0.95))
def test_in_an_overload_hardly_anyone_is_odd(seed: int, refused: float) -> None:
    """Where most are refused, at most a few are taken for odd: the contrast is a matter of chance."""
    chance, refusals = random.Random(seed), Refusals()
    own = bad = 0
    for turn in range(2000):
        subject = turn % 50
        if chance.random() < refused:
            bad += 1
            own += refusals.refuse(subject, float(turn), None)
        else:
            refusals.on_success(subject)
    assert own < 0.1 * bad


def test_a_retry_after_holds_its_subject() -> None:
    """A Retry-After is believed within its bounds, and holds the subject that got it."""
    refusals = Refusals()
    refusals.refuse("list", 10.0, 3.0)
    assert refusals.held_for("list", 10.0) == pytest.approx(3.0)
    assert refusals.held_for("list", 13.0) == 0.0
    assert refusals.held_for("submissions", 10.0) == 0.0
    refusals.refuse("list", 14.0, 1e9)
    assert refusals.held_for("list", 14.0) == pytest.approx(60.0)


def test_requests_without_subject_count_for_all() -> None:
    """What is about nothing in particular is never odd, but counts as somebody else."""
    refusals = Refusals()
    assert not any(refusals.refuse(None, 0.0, 5.0) for _ in range(100))
    assert refusals.held_for(None, 0.0) == 0.0
    refusals.on_success(None)
    refusals.refuse(7, 0.0, None)
    for _ in range(50):
        refusals.on_success(None)
    assert refusals.refuse(7, 1.0, None)


def test_only_so_many_are_remembered() -> None:
    """Of subjects that are refused and never asked again those refused first are forgotten."""
    refusals = Refusals()
    for subject in range(MOST + 5):
        refusals.refuse(subject, 0.0, 30.0)
    assert refusals.held_for(4, 0.0) == 0.0
    assert refusals.held_for(5, 0.0) == 30.0
