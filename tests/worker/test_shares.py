"""How accounts are shared: evenly, without an account going to and fro."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omgmj.worker.shares import declines, gives_up


def others(leads: list[int], worker: int) -> dict[str, int]:
    return {str(other): count for other, count in enumerate(leads) if other != worker}


@pytest.mark.parametrize("leads", [0, 1, 7])
def test_a_worker_alone_leads_all(leads: int) -> None:
    """There is nobody to leave an account to."""
    assert not declines(leads, {})
    assert not gives_up(leads, {})


@given(st.lists(st.integers(0, 9), min_size=2, max_size=6))
def test_shares_become_even(leads: list[int]) -> None:
    """From any shares, by one account handed over at a time; each time they are more even than before."""
    while giving := [worker for worker, count in enumerate(leads) if gives_up(count, others(leads, worker))]:
        uneven = sum(count * count for count in leads)
        leads[giving[0]] -= 1
        taking = [worker for worker, count in enumerate(leads) if not declines(count, others(leads, worker))]
        assert giving[0] not in taking
        leads[taking[-1]] += 1
        assert sum(count * count for count in leads) < uneven
    assert max(leads) - min(leads) <= 1


@given(st.lists(st.integers(0, 9), min_size=2, max_size=6))
def test_a_free_account_goes_to_who_leads_least(leads: list[int]) -> None:
    """All others decline."""
    taking = {count for worker, count in enumerate(leads) if not declines(count, others(leads, worker))}
    assert taking == {min(leads)}
