"""Ends that nothing foretold: few mean nothing, many are a hazard, and it fades."""

from __future__ import annotations

import math

import pytest

from omgmj.backoff.surprises import CALM, HALF_LIFE, Surprises


def after(*ends: tuple[float, bool]) -> Surprises:
    """Return what is made of tasks that were watched for so many seconds, and were a surprise or not."""
    surprises = Surprises()
    for seconds, surprised in ends:
        surprises.saw(seconds, surprised=surprised)
    return surprises


def test_a_few_mean_nothing() -> None:
    """Before any end, with none, and with a few among many, there is no hazard."""
    assert after().hazard == 0
    assert after(*[(40.0, False)] * 20).hazard == 0
    calm = [(40.0, number % round(1.5 / CALM) == 0) for number in range(60)]
    assert after(*calm[:60]).hazard == pytest.approx(0.0, abs=0.01)


def test_a_storm_is_heard_within_a_few_tasks_and_passes() -> None:
    """Where task after task ends within seconds, the hazard comes to one in some seconds, and is gone later."""
    calm, storm = [(60.0, False)] * 50, [(3.0, True)] * 6
    assert after(*calm, *storm).hazard > 0.03
    assert after(*calm, *storm * 10).hazard > 0.1
    assert after(*calm, *storm * 10, *[(40.0, False)] * 50).hazard < 0.002


def test_who_ends_later_is_a_smaller_hazard() -> None:
    """Surprises after a minute are no reason to look each second."""
    early, late = (after(*[(seconds, True)] * 30).hazard for seconds in (3.0, 60.0))
    assert late < early / 5
    assert after((-5.0, True), (0.0, True)).hazard > 0


def test_a_storm_goes_on_in_the_next_run() -> None:
    """What was seen of late is taken over, less of it the longer ago that was; what nobody gave is not."""
    known = after(*[(3.0, True)] * 8)
    other = Surprises()
    other.restore(known.dump())
    assert (other.hazard, other.dump()) == (known.hazard, known.dump())
    other.restore(known.dump(), HALF_LIFE)
    assert 0.2 * known.hazard < other.hazard < 0.5 * known.hazard
    other.restore(known.dump(), 86_400.0)
    assert other.hazard == 0.0
    for odd in (
        [1.0, 1.0, 1e9],
        [0.0, 0.0, 0.0],
        [11.0, 1.0, 10.0],
        [-1.0, 1.0, 10.0],
        [1.0, -1.0, 10.0],
        [1.0, math.nan, 10.0],
    ):
        with pytest.raises(ValueError):
            Surprises().restore(odd)
