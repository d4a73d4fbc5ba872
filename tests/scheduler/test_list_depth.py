"""Reading deeper: how many pages at once, and the pauses."""

from __future__ import annotations

from omgmj.scheduler.list_depth import (
    DEEPER_AT_ONCE,
    DEEPER_HOLD,
    EMPTY_PAUSE,
    LONGEST_PAUSE,
    VAIN_PAUSE,
    ListDepth,
)


def test_each_page_that_pays_lets_one_more_be_out() -> None:
    """One page at first, and one more for each that paid, up to a bound."""
    depth = ListDepth()
    for most in (*range(1, DEEPER_AT_ONCE + 1), DEEPER_AT_ONCE):
        for page in range(1, most + 1):
            assert not depth.is_full
            assert depth.next_page(1) == page
            depth.begin(page, float(page))
        assert depth.is_full
        for page in range(1, most + 1):
            depth.end(page)
        depth.on_page(20, 0.0, is_new=True)


def test_due_ids_wait_for_the_oldest_page_that_is_out() -> None:
    """They do only while no more pages may be read beside it."""
    depth = ListDepth()
    depth.on_page(20, 0.0, is_new=True)
    depth.begin(1, 1.0)
    assert depth.awaited_until < 0.0
    depth.begin(2, 2.0)
    assert depth.awaited_until == 1.0 + DEEPER_HOLD
    depth.end(1)
    depth.end(1)
    assert depth.awaited_until < 0.0


def test_pauses_are_longer_each_time_until_a_page_pays() -> None:
    """Pages without watched IDs bring a pause of a minute after some, then longer; one that pays begins anew."""
    depth = ListDepth()
    pauses = []
    now = 0.0
    for _ in range(200):
        depth.on_page(0, now, is_new=True)
        if depth.paused_until > now:
            pauses.append(depth.paused_until - now)
            now = depth.paused_until
    assert pauses[:3] == [VAIN_PAUSE, 2 * VAIN_PAUSE, 4 * VAIN_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE
    depth.on_page(2, now, is_new=True)
    depth.on_page(0, now, is_new=False)
    assert depth.paused_until == now + EMPTY_PAUSE


def test_a_pause_is_not_made_longer_by_pages_that_were_out() -> None:
    """What comes during a pause says nothing new."""
    depth = ListDepth()
    for now in (0.0, 1.0, EMPTY_PAUSE - 1.0):
        depth.on_page(0, now, is_new=False)
        assert depth.paused_until == EMPTY_PAUSE
    depth.on_page(0, EMPTY_PAUSE, is_new=False)
    assert depth.paused_until == EMPTY_PAUSE + 2 * EMPTY_PAUSE
