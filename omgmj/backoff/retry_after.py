"""Bounds of a Retry-After: how far the service's own word is believed, in seconds."""

from __future__ import annotations

LEAST, MOST = 0.5, 60.0
"""A word beyond these is taken for them."""
LEAST_POLL = 1.0
"""The least where the word came with a good answer, so between two polls of a task."""


def believed(seconds: float, least: float = LEAST) -> float:
    """Return a Retry-After of so many `seconds` within its bounds; one that is not a number is the least."""
    # In this order: of two, `max` keeps the first where the second is not a number.
    return min(MOST, max(least, seconds))
