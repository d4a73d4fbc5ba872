"""Claims: for how long one is heard, what an end does to those after it, and which end they foretell."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omgmj.backoff.policies import HEARD_FOR, HEARTBEAT
from omgmj.scheduler.claims import SLACK, Claims
from tests.scheduler.bench import NEVER


def test_a_claim_is_heard_for_a_while_and_each_one_renews_it() -> None:
    """A claim that a task goes on is heard for two minutes from the last one."""
    claims = Claims()
    assert claims.heard(1, 0.0) is None
    claims.on_progress(1, None, 0.0)
    assert claims.heard(1, HEARD_FOR - 1) == HEARD_FOR - 1
    claims.on_progress(1, None, HEARD_FOR - 1)
    assert claims.heard(1, HEARD_FOR + 50) == 51.0
    assert claims.heard(1, 2 * HEARD_FOR - 1) is None
    assert claims.heard(2, 0.0) is None


def test_after_a_claimed_end_nothing_is_heard_for_a_while() -> None:
    """Callbacks come in any order: after a claim of the end one of progress holds nothing back; long after it does."""
    claims = Claims()
    claims.on_progress(1, 15, 0.0)
    claims.on_end(1, 10.0)
    assert claims.heard(1, 10.0) is None
    claims.on_progress(1, 93, 10.5)
    assert claims.heard(1, 10.5) is None
    claims.on_progress(1, 93, 10.0 + HEARD_FOR)
    assert claims.heard(1, 10.0 + HEARD_FOR) == 0.0


def test_a_task_that_is_expected_to_be_told_of_counts_as_heard_until_the_heartbeat() -> None:
    """What was made with a webhook is as if it was heard of then, until its first poll; a real claim takes over."""
    claims = Claims()
    claims.expect(1, 5.0)
    assert claims.heard(1, 5.0 + HEARTBEAT - 1) == HEARTBEAT - 1
    assert claims.heard(1, 5.0 + HEARTBEAT) is None
    claims.on_progress(1, 0, 20.0)
    assert claims.heard(1, 5.0 + HEARTBEAT) == 45.0


def test_the_end_is_foretold_by_the_pace_of_the_claims() -> None:
    """Two claims give a pace; the end is looked for a little after it, and one that goes back says nothing."""
    claims = Claims()
    claims.on_progress(1, None, 0.0)
    claims.on_progress(1, 0, 0.0)
    assert claims.ends_at(1, 0.0) == NEVER
    claims.on_progress(1, 50, 10.0)
    assert claims.ends_at(1, 10.0) == 20.0 + SLACK
    claims.on_progress(1, 31, 11.0)
    claims.on_progress(1, 50, 12.0)
    assert claims.ends_at(1, 12.0) == 20.0 + SLACK
    claims.on_progress(1, 75, 30.0)
    assert claims.ends_at(1, 30.0) == pytest.approx(40.0 + 0.08 * 40.0)
    assert claims.ends_at(1, 50.0) == NEVER
    claims.forget(1)
    assert claims.ends_at(1, 30.0) == NEVER


def test_a_claim_below_the_first_begins_anew() -> None:
    """Who claims much first and the truth after that does not spoil the foretelling."""
    claims = Claims()
    claims.on_progress(1, 99, 0.0)
    claims.on_progress(1, 0, 1.0)
    claims.on_progress(1, 50, 21.0)
    assert claims.ends_at(1, 21.0) == pytest.approx(41.0 + 0.08 * 40.0)


@given(st.lists(st.tuples(st.floats(0, 100), st.none() | st.integers(0, 100)), max_size=30))
def test_an_end_is_never_foretold_for_just_now(steps: list[tuple[float, int | None]]) -> None:
    """Whatever is claimed in whatever order, the end that is foretold lies some seconds after the claim, or nowhere."""
    claims, now = Claims(), 0.0
    for step, progress in steps:
        before = claims.ends_at(1, now)
        now += step
        claims.on_progress(1, progress, now)
        assert claims.ends_at(1, now) in (before, NEVER) or claims.ends_at(1, now) >= now + SLACK
