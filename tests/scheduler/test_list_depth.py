"""Reading deeper: which pages are worth it, how many at once, and the pauses."""

from __future__ import annotations

from omgmj.scheduler.list_depth import (
    DEEPER_AT_ONCE,
    DEEPER_HOLD,
    EMPTY_PAUSE,
    LONGEST_PAUSE,
    VAIN_PAUSE,
    ListDepth,
)


def show(depth: ListDepth, watched: int, foretold: int, now: float, *, asked_at: float | None = None) -> None:
    """Have a page show so many of the watched IDs that it should."""
    depth.on_page(watched, foretold, now, asked_at=now if asked_at is None else asked_at, is_last=False)


def test_each_page_that_pays_lets_one_more_be_out() -> None:
    """One page at first, and one more for each that paid, up to a bound; one that does not pay takes half of them."""
    depth = ListDepth()
    for most in (*range(1, DEEPER_AT_ONCE + 1), DEEPER_AT_ONCE):
        for page in range(1, most + 1):
            assert not depth.is_full
            depth.begin(page, float(page), 0)
        assert depth.is_full
        for page in range(1, most + 1):
            depth.end(page)
        assert depth.is_idle
        show(depth, 20, 20, 0.0)
    show(depth, 0, 20, 0.0)
    for page in range(1, DEEPER_AT_ONCE // 2 + 2):
        assert not depth.is_full
        depth.begin(page, 0.0, 0)


def test_due_ids_wait_for_the_oldest_page_that_is_out() -> None:
    """They do while no more pages may be read beside it, or where a page that is out tells of them."""
    depth = ListDepth()
    show(depth, 20, 20, 0.0)
    assert depth.awaited_until(100) < 0.0
    depth.begin(1, 1.0, 90)
    assert depth.awaited_until(89) < 0.0
    assert depth.awaited_until(90) == 1.0 + DEEPER_HOLD
    depth.begin(2, 2.0, 80)
    assert depth.awaited_until(79) == 1.0 + DEEPER_HOLD
    depth.end(1)
    depth.end(1)
    assert depth.awaited_until(79) < 0.0


def test_the_fewer_of_the_foretold_ids_pages_show_the_more_must_be_foretold() -> None:
    """Pages in vain leave only those of many IDs worth reading; pages that show what they should undo that."""
    depth = ListDepth()
    show(depth, 20, 0, 0.0)
    assert not depth.is_worth(1)
    assert depth.is_worth(2)
    for now in range(5):
        show(depth, 0, 4, float(now))
    assert not depth.is_worth(6)
    assert depth.is_worth(20)
    for now in range(10):
        show(depth, 20, 20, float(now))
    assert depth.is_worth(2)


def test_pages_in_vain_that_were_out_together_count_once() -> None:
    """What comes of pages asked for before one in vain came back is the same error again."""
    depth = ListDepth()
    for _ in range(10):
        show(depth, 0, 20, 1.0, asked_at=0.0)
    assert depth.is_worth(2)


def test_pauses_are_longer_each_time_until_a_page_pays() -> None:
    """Where no page is worth it any more there is a pause of a minute, then longer; one that pays begins anew."""
    depth = ListDepth()
    pauses = []
    now = 0.0
    for _ in range(10):
        while depth.is_worth(20):
            show(depth, 0, 20, now)
        depth.on_none(now)
        depth.on_none(now)
        pauses.append(depth.paused_until - now)
        now = depth.paused_until
    assert pauses[:3] == [VAIN_PAUSE, 2 * VAIN_PAUSE, 4 * VAIN_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE
    show(depth, 2, 2, now)
    depth.on_page(0, 20, now, asked_at=now, is_last=True)
    assert depth.paused_until == now + EMPTY_PAUSE


def test_a_pause_is_not_made_longer_by_pages_that_were_out() -> None:
    """What comes during a pause says nothing new."""
    depth = ListDepth()
    for now in (0.0, 1.0, EMPTY_PAUSE - 1.0):
        depth.on_page(0, 20, now, asked_at=now, is_last=True)
        assert depth.paused_until == EMPTY_PAUSE
    depth.on_page(0, 20, EMPTY_PAUSE, asked_at=EMPTY_PAUSE, is_last=True)
    assert depth.paused_until == EMPTY_PAUSE + 2 * EMPTY_PAUSE
