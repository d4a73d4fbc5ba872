"""Several addresses of one service: which one the next request goes to, told by what became of those before."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omgmj.client.mirrors import (
    ANSWERS,
    CAP,
    EVERY,
    FIRST,
    FORGIVEN,
    JITTER,
    PATIENCE,
    PROOF,
    PROOF_MOST,
    SPLIT,
    Mirror,
    Mirrors,
    State,
)


def make(count: int = 2) -> tuple[Mirrors, list[Mirror]]:
    mirrors = Mirrors([f"https://{number}.test" for number in range(count)])
    return mirrors, mirrors.all


def take(mirrors: Mirrors, now: float, *, repeatable: bool = True, large: bool = False) -> Mirror:
    return mirrors.take(now, repeatable=repeatable, large=large)


def fail(mirrors: Mirrors, mirror: Mirror, now: float, roll: float = 0.0) -> bool:
    return mirrors.on_failure(mirror, now, now, roll, silent=False)


def fell(mirrors: Mirrors, mirror: Mirror, now: float) -> None:
    """Let an address that was well fall."""
    assert [fail(mirrors, mirror, now) for _ in range(3)] == [False, False, True]
    assert mirror.state is State.DOWN


def prove(mirrors: Mirrors, mirror: Mirror, now: float, seconds: float) -> float:
    """Let an address answer all that comes to it for so many seconds; return when that is."""
    until = now + seconds
    while now < until:
        mirrors.on_answer(mirror, now, now)
        now += 1.0
    mirrors.on_answer(mirror, until, until)
    return until


def test_all_goes_to_the_first_while_it_answers() -> None:
    """Where nothing fails the other addresses are not asked."""
    mirrors, (first, _) = make()
    for second in range(100):
        assert take(mirrors, second) is first
        assert not mirrors.on_answer(first, second, second + 0.1)


def test_failures_in_a_row_move_requests() -> None:
    """After three failures requests go to the next address; that is news once, when it has answered."""
    mirrors, (first, second) = make()
    fell(mirrors, first, 1.0)
    assert take(mirrors, 1.1) is second
    assert mirrors.told is first
    assert mirrors.on_answer(second, 1.1, 1.2)
    assert not mirrors.on_answer(second, 1.2, 1.3)
    assert mirrors.told is second


def test_one_that_fails_now_and_then_stays() -> None:
    """A failure in ten by chance moves nothing; every second one does."""
    mirrors, (first, second) = make()
    for turn in range(1000):
        if turn % 10:
            mirrors.on_answer(first, turn, turn)
        else:
            fail(mirrors, first, turn)
    assert take(mirrors, 1000.0) is first
    for turn in range(1000, 1010):
        if turn % 2:
            mirrors.on_answer(first, turn, turn)
        else:
            fail(mirrors, first, turn)
    assert take(mirrors, 1010.0) is second


def test_a_silence_counts_at_once_where_nothing_was_answered_meanwhile() -> None:
    """One request long without an answer moves requests, unless one that was sent later has been answered."""
    mirrors, (first, second) = make()
    mirrors.on_answer(first, 5.0, 5.1)
    assert not mirrors.on_failure(first, 4.0, 11.0, 0.0, silent=True)
    assert not mirrors.on_failure(first, 9.0, 11.0, 0.0, silent=True)
    assert take(mirrors, 11.0) is first
    mirrors.on_answer(first, 5.5, 11.0)
    assert mirrors.on_failure(first, 6.0, 11.0, 0.0, silent=True)
    assert take(mirrors, 11.0) is second


def test_many_in_flight_when_one_dies() -> None:
    """A hundred requests that were out fail it once; it is tried by one request, and the next goes on elsewhere."""
    mirrors, (first, second) = make()
    assert sum(mirrors.on_failure(first, 1.0 + n / 1000, 2.0, 0.0, silent=False) for n in range(100)) == 1
    assert first.try_at == 2.0 + FIRST
    assert {take(mirrors, 2.0 + n / 100) for n in range(100)} == {second}
    assert [take(mirrors, 4.0) for _ in range(100)] == [first] + 99 * [second]


def test_tries_of_a_dead_one_back_off() -> None:
    """The pauses between two tries double up to a cap; chance takes off a part."""
    mirrors, (first, _) = make()
    fell(mirrors, first, 0.0)
    pauses, now = [], 0.0
    for _ in range(7):
        pauses.append(first.try_at - now)
        now = first.try_at
        assert take(mirrors, now) is first
        assert first.try_at == now + PATIENCE
        assert not fail(mirrors, first, now)
    assert pauses == [FIRST, 4.0, 8.0, 16.0, CAP, CAP, CAP]
    fail(mirrors, first, now + 1.0, roll=1.0)
    assert first.try_at == now + 1.0 + CAP * (1 - JITTER)


def test_a_try_whose_outcome_nobody_tells_is_repeated() -> None:
    """Where who tried was cancelled, another tries later."""
    mirrors, (first, second) = make()
    fell(mirrors, first, 0.0)
    assert take(mirrors, FIRST) is first
    assert take(mirrors, FIRST + PATIENCE - 0.1) is second
    assert take(mirrors, FIRST + PATIENCE) is first


def test_it_is_gone_back_to_only_when_it_proved_well() -> None:
    """After its first answer it gets a request now and then, and all again when it has answered them for a while."""
    mirrors, (first, second) = make()
    fell(mirrors, first, 0.0)
    mirrors.on_answer(second, 0.5, 0.5)
    assert take(mirrors, 2.0) is first
    assert not mirrors.on_answer(first, 2.0, 2.1)
    asked = []
    now = 2.1
    while first.state is State.TRIAL:
        now += 0.5
        chosen = take(mirrors, now)
        asked.append(chosen)
        told = mirrors.on_answer(chosen, now, now)
    assert told
    assert now == pytest.approx(2.1 + PROOF, abs=EVERY)
    assert asked.count(first) == pytest.approx(PROOF / EVERY, abs=1)
    assert take(mirrors, now + 0.1) is first


def test_few_answers_prove_nothing() -> None:
    """However long ago the first answer is, there must be some."""
    mirrors, (first, _) = make()
    fell(mirrors, first, 0.0)
    for turn in range(1, ANSWERS):
        mirrors.on_answer(first, turn * 100.0, turn * 100.0)
        assert first.state is State.TRIAL
    mirrors.on_answer(first, ANSWERS * 100.0, ANSWERS * 100.0)
    assert first.state is State.WELL


def test_an_answer_to_what_was_sent_before_proves_nothing() -> None:
    """An answer that was under way when the address died leaves it down."""
    mirrors, (first, _) = make()
    fell(mirrors, first, 5.0)
    mirrors.on_answer(first, 4.0, 6.0)
    assert first.state is State.DOWN


def test_a_failure_on_trial_is_enough() -> None:
    """One that fails while it is on trial is down again, for longer than before."""
    mirrors, (first, _) = make()
    fell(mirrors, first, 0.0)
    mirrors.on_answer(first, 2.0, 2.0)
    assert fail(mirrors, first, 7.0)
    assert first.try_at == 7.0 + FIRST * 2


def test_one_that_falls_again_must_prove_well_for_longer() -> None:
    """The seconds double with each fall up to a bound, and are forgiven after a good while."""
    mirrors, (first, _) = make()
    now, proofs = 0.0, []
    for _ in range(8):
        fell(mirrors, first, now + 1.0)
        proofs.append(first.proof)
        now = prove(mirrors, first, now + 2.0, first.proof)
        assert first.state is State.WELL
    assert proofs == [PROOF, 40.0, 80.0, 160.0, 320.0, PROOF_MOST, PROOF_MOST, PROOF_MOST]
    fell(mirrors, first, now + FORGIVEN)
    assert first.proof == PROOF


@pytest.mark.parametrize("half", [0.5, 2.0, 7.0])
def test_one_that_flaps_is_left(half: float) -> None:
    """An address that is up and down in turn gets few requests, and requests go back to it seldom."""
    mirrors, (first, second) = make()
    failed = moved = 0
    for turn in range(36_000):
        now = turn / 10
        chosen = take(mirrors, now)
        if chosen is first and now // half % 2:
            failed += 1
            mirrors.on_failure(first, now, now, 0.5, silent=False)
            chosen = second
        moved += mirrors.on_answer(chosen, now, now)
    assert failed < 360
    assert moved <= 9


def test_where_all_are_down_they_are_asked_in_turn() -> None:
    """None is given up: what comes goes to the one whose turn it is, and to another only where its turn has come."""
    mirrors, (first, second) = make()
    fell(mirrors, first, 0.0)
    fell(mirrors, second, 0.5)
    assert take(mirrors, 1.0) is first
    fail(mirrors, first, 1.0)
    assert mirrors.take_next(1.0, [first]) is None
    assert take(mirrors, 1.1) is second
    fail(mirrors, second, 1.1)
    assert take(mirrors, 5.2) is first
    assert mirrors.take_next(5.2, [first]) is second
    assert mirrors.take_next(5.2, [first, second]) is None


def test_the_first_that_comes_back_gets_all() -> None:
    """After all were down, the one that answers first is asked until the one before it has proved well."""
    mirrors, (first, second) = make()
    fell(mirrors, first, 0.0)
    fell(mirrors, second, 0.0)
    assert not mirrors.on_answer(second, 3.0, 3.0)
    mirrors.on_answer(first, 4.0, 4.0)
    assert mirrors.home is second
    assert take(mirrors, 4.1) is second
    prove(mirrors, second, 4.2, PROOF)
    assert mirrors.told is second
    prove(mirrors, first, 5.0, PROOF)
    assert mirrors.home is first
    assert mirrors.told is first


def test_what_must_not_be_repeated_tries_nothing() -> None:
    """A submission goes where all goes; one with images to the first address, on trial too, unless it is down."""
    mirrors, (first, second) = make()
    fell(mirrors, first, 0.0)
    assert take(mirrors, 50.0, repeatable=False) is second
    assert take(mirrors, 50.0, repeatable=False, large=True) is second
    mirrors.on_answer(first, 50.0, 50.0)
    assert take(mirrors, 60.0, repeatable=False) is second
    assert take(mirrors, 60.0, repeatable=False, large=True) is first


def test_the_next_one_is_the_best_that_was_not_tried() -> None:
    """A call that fails goes on in the order of addresses, those that are well before others."""
    mirrors, (first, second, third) = make(3)
    assert mirrors.take_next(0.0, [first]) is second
    assert mirrors.take_next(0.0, [first, second]) is third
    fell(mirrors, second, 0.0)
    assert mirrors.take_next(0.0, [first]) is third
    assert mirrors.take_next(0.0, [first, third]) is None
    assert mirrors.take_next(FIRST, [first, third]) is second


def test_how_long_an_address_may_take() -> None:
    """All of the time where no other is alive; some seconds where it is tried; else half, where that is not little."""
    mirrors, (first, second) = make()
    assert mirrors.share(first, 30.0, []) == 15.0
    assert mirrors.share(second, 15.0, [first]) == 15.0
    assert mirrors.share(first, SPLIT - 1.0, []) == SPLIT - 1.0
    fell(mirrors, first, 0.0)
    assert mirrors.share(second, 30.0, []) == 30.0
    assert mirrors.share(first, 30.0, []) == PATIENCE
    assert mirrors.share(first, 1.0, []) == 1.0
    assert mirrors.share(first, 30.0, [second]) == 30.0


def test_where_all_fail_now_and_then_little_is_told() -> None:
    """Two addresses that each fail every third request, for an hour: it is told seldom that requests go elsewhere."""
    mirrors, _ = make()
    told = 0
    for turn in range(36_000):
        now = turn / 10
        chosen = take(mirrors, now)
        if turn % 3 == 0:
            mirrors.on_failure(chosen, now, now, 0.5, silent=False)
        else:
            told += mirrors.on_answer(chosen, now, now)
    assert told <= 3


@given(
    st.integers(2, 4),
    st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.booleans(), st.floats(0.0, 40.0)), max_size=80),
)
def test_whatever_happens(count: int, steps: list[tuple[int, bool, bool, float]]) -> None:
    """There is always an address to ask; one that is not well, and not the best, is asked by one request at a time."""
    mirrors, addresses = make(count)
    now = 0.0
    for number, good, silent, pause in steps:
        now += pause
        mirror = addresses[number % count]
        if good:
            mirrors.on_answer(mirror, now - 0.1, now)
        else:
            mirrors.on_failure(mirror, now - 0.1, now, 0.5, silent=silent)
        home = mirrors.home
        assert home.state is State.WELL or all(one.state is not State.WELL for one in addresses)
        tried = [
            one for one in (take(mirrors, now) for _ in range(10)) if one is not home and one.state is not State.WELL
        ]
        if home.state is not State.DOWN:
            assert len(tried) == len(set(tried))
        assert all(one.try_at > now for one in tried)
        assert all(FIRST <= one.delay <= CAP and one.failed_at < math.inf for one in addresses)
