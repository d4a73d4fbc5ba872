"""Trust in the list: which signs have it left alone, for how long, and what takes them off."""

from __future__ import annotations

import pytest

from omgmj.scheduler.list_trust import (
    CHECK_PAGES,
    CHECK_SECONDS,
    LAGGED,
    LONGEST_REST,
    REST,
    SHORTER,
    STRIKES,
    ListTrust,
    SpotChecks,
)


def test_signs_begin_a_rest_and_each_is_longer() -> None:
    """Signs add up to a rest; the next is twice as long, up to a bound; during one there are no signs."""
    trust = ListTrust()
    now, rest = 0.0, REST
    for _ in range(12):
        assert [trust.strike(now, 1) for _ in range(STRIKES)] == [False] * (STRIKES - 1) + [True]
        assert trust.rests_until == now + rest
        assert not trust.strike(now + rest - 1, STRIKES)
        now, rest = now + rest, min(LONGEST_REST, 2 * rest)
    assert rest == LONGEST_REST


def test_good_pages_take_signs_off() -> None:
    """One sign goes with each good page."""
    trust = ListTrust()
    for _ in range(3 * STRIKES):
        assert not trust.strike(0.0, STRIKES - 1)
        for _ in range(STRIKES - 1):
            trust.on_good_page(deeper=True)


@pytest.mark.parametrize(("deeper", "rest"), [(False, 2 * REST * SHORTER), (True, 2 * REST)])
def test_good_pages_shorten_the_next_rest(rest: float, *, deeper: bool) -> None:
    """A page read for watched IDs proves the list; one that is read deeper only takes signs off."""
    trust = ListTrust()
    trust.strike(0.0, STRIKES)
    trust.on_good_page(deeper=deeper)
    assert trust.strike(REST, STRIKES)
    assert trust.rests_until == REST + rest
    for _ in range(1000):
        trust.on_good_page(deeper=False)
    now = trust.rests_until
    assert trust.strike(now, STRIKES)
    assert trust.rests_until == now + REST


def test_pages_are_to_show_those_they_were_read_for() -> None:
    """A page that lacks more than it shows is one sign; where pages show next to nothing on average, that is enough."""
    trust = ListTrust()
    assert trust.on_answers(2, 2, 2) == 0
    assert trust.on_answers(2, 2, 3) == 1
    signs = [trust.on_answers(0, 0, 0) for _ in range(40)]
    assert signs == sorted(signs)
    assert set(signs) == {0, STRIKES}


def test_pages_that_fail_in_passing_bring_a_rest_where_they_are_many() -> None:
    """One in five is none; where most fail, the list rests."""
    trust = ListTrust()
    for _ in range(100):
        trust.on_transient(0.0)
        for _ in range(4):
            trust.on_read()
    assert trust.rests_until < 0.0
    for _ in range(20):
        trust.on_transient(0.0)
    assert trust.rests_until >= REST


def test_pages_that_do_not_come_end_the_trust_soon() -> None:
    """Two in a row are enough, however many were out at once; one among good pages is not."""
    trust = ListTrust()
    for _ in range(10):
        trust.on_silence(2.0, 0.0)
    assert trust.rests_until < 0.0
    for _ in range(20):
        trust.on_read()
    trust.on_silence(9.0, 7.0)
    assert trust.rests_until < 0.0
    trust.on_silence(12.0, 10.0)
    assert trust.rests_until == 12.0 + REST


def test_a_page_that_lags_behind_another_is_one_sign_for_all_its_records() -> None:
    """Of the records of one page only the first counts; a poll that shows it leaves no doubt."""
    trust = ListTrust()
    assert [trust.on_lag(1.0, listed=True) for _ in range(3)] == [LAGGED, 0, 0]
    assert trust.on_lag(2.0, listed=True) == LAGGED
    assert [trust.on_lag(2.0, listed=False) for _ in range(2)] == [STRIKES, STRIKES]


def test_a_spot_check_comes_after_pages_and_seconds() -> None:
    """Neither pages alone nor seconds alone bring the next one."""
    checks = SpotChecks()
    for _ in range(CHECK_PAGES):
        assert not checks.is_due(0.0)
        checks.on_page()
    assert checks.is_due(0.0)
    checks.on_check(0.0)
    assert not checks.is_due(2 * CHECK_SECONDS)
    for _ in range(CHECK_PAGES):
        checks.on_page()
    assert not checks.is_due(CHECK_SECONDS - 0.1)
    assert checks.is_due(CHECK_SECONDS)


def test_a_list_refused_with_429_rests() -> None:
    """A Retry-After is the list's rest; where the list is the odd one, its rest is one of those that grow."""
    trust = ListTrust()
    trust.on_429(10.0, 7.0, odd=False)
    assert trust.rests_until == 17.0
    trust.on_429(11.0, 0.0, odd=False)
    assert trust.rests_until == 17.0
    trust.on_429(20.0, 0.0, odd=True)
    assert trust.rests_until == 20.0 + REST
    trust.on_429(100.0, 0.0, odd=True)
    assert trust.rests_until == 100.0 + 2 * REST
