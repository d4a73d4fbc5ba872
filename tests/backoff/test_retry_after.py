"""`retry_after`: the bounds within which the service's word is believed."""

from __future__ import annotations

import math

import pytest

from omgmj.backoff.retry_after import LEAST, LEAST_POLL, MOST, believed


@pytest.mark.parametrize(
    ("said", "taken"),
    [(0.0, LEAST), (-5.0, LEAST), (7.5, 7.5), (60.0, MOST), (1e9, MOST), (math.inf, MOST), (math.nan, LEAST)],
)
def test_bounds(said: float, taken: float) -> None:
    """A Retry-After is believed from half a second to a minute; what is not a number is the least."""
    assert believed(said) == taken
    assert believed(said, LEAST_POLL) == max(taken, LEAST_POLL)
