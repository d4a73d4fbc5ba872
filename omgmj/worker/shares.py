"""How accounts are shared among workers: evenly, by each worker's own look at who leads how many."""

from __future__ import annotations

from collections.abc import Mapping


def declines(leads: int, others: Mapping[str, int]) -> bool:
    """Whether a worker that `leads` so many accounts leaves one more to another; `others` lead so many each."""
    return leads > min(others.values(), default=leads)


def gives_up(leads: int, others: Mapping[str, int]) -> bool:
    """Whether a worker hands one of the accounts it `leads` to another, which then leads no more than it."""
    return leads - 1 > min(others.values(), default=leads)
