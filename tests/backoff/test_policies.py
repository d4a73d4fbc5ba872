"""When to poll again: the three policies, the retry policy, and what is refused."""

from __future__ import annotations

import itertools
import math
import random
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omgmj.backoff.policies import (
    HEARD_FOR,
    HEARTBEAT,
    Adaptive,
    Exponential,
    Facts,
    Fixed,
    Retry,
    check_delay,
)
from omgmj.backoff.price import Prices
from omgmj.backoff.residual_life import Lived, ResidualLife, State
from omgmj.backoff.silences import Silence
from omgmj.errors import UsageError
from omgmj.models import Status
from tests.test_validation import BAD_NUMBERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from omgmj.backoff import Policy

RUNNING = Status.IN_PROGRESS


POOL, KIND = "FAST", "IMAGINE"


@st.composite
def some_life(draw: st.DrawFn) -> ResidualLife | None:
    """Draw what a session may have learned: nothing, little, or much of anything."""
    if draw(st.booleans()):
        return None
    life = ResidualLife()
    for _ in range(draw(st.integers(0, 3))):
        end, late = draw(st.floats(0.0, 1e6)), draw(st.floats(0.0, 1e4))
        places = draw(st.lists(st.integers(-2, 100).filter(lambda place: place != 0), max_size=4))
        states = [State(place, end * at / 9, end * (at - 1) / 9, end * at / 9) for at, place in enumerate(places, 1)]
        for _ in range(draw(st.integers(1, 60))):
            life.learn(
                (None, None), Lived(states, 0.0, end / 2, end + late, end, draw(st.sampled_from([None, (None, None)])))
            )
            life.durations.saw_end(None, end / 2, end + late, ended=end)
    return life


some_facts = st.builds(
    Facts,
    task_id=st.just(1),
    attempt=st.one_of(st.integers(0, 20), st.integers(0, 10**12), st.just(10**400)),
    age=st.floats(0.0, 1e9),
    pool=st.none(),
    kind=st.none(),
    status=st.one_of(st.sampled_from(Status), st.just("PAUSED")),
    progress=st.one_of(st.none(), st.integers(0, 100)),
    changed=st.floats(0.0, 1e9),
    hint=st.none(),
    heard=st.none(),
    life=some_life(),
    prices=st.builds(Prices),
    waited=st.floats(0.0, 1e9),
    unseen=st.one_of(st.none(), st.floats(0.0, 1e9)),
    left=st.one_of(st.none(), st.floats(0.0, 1e9)),
    answers=st.floats(0.0, 100.0),
    load=st.floats(1.0, 1000.0),
)
rolls = st.floats(0.0, 1.0, exclude_max=True)


def facts(**known: Any) -> Facts:
    """Return facts of a task that runs and of which nothing is known beside `known`."""
    nothing = Facts(1, attempt=1, age=0.0, pool=None, kind=None, status=RUNNING, progress=None, changed=0.0, hint=None)
    return nothing._replace(**known)


# --- the numbers that are taken ---


def test_what_a_policy_returns_is_checked() -> None:
    """A policy's answer is seconds from 0 on, or None for stop; all else is a `UsageError` that says so."""
    assert check_delay(2) == 2.0
    assert check_delay(0) == 0.0
    assert check_delay(None) is None
    for value in BAD_NUMBERS:
        if value is not None:
            with pytest.raises(UsageError, match=r"^what the backoff policy returns must be .*, 0 or more, or None; "):
                check_delay(value)


@pytest.mark.parametrize("kind", [Fixed, Exponential, Adaptive, Retry])
def test_policies_are_values_and_refuse_bad_fields(kind: type[Any]) -> None:
    """Each policy is frozen, comparable and hashable, and refuses bad numbers in any field by its name."""
    policy = kind()
    assert policy == kind()
    assert hash(policy) == hash(kind())
    for field in attrs.fields(kind):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(policy, field.name, 1)
        for value in BAD_NUMBERS:
            if value is None and field.name in ("least", "polls"):
                continue
            with pytest.raises(UsageError, match=rf"^{kind.__name__}\.{field.name} must be "):
                kind(**{field.name: value})


def test_least_is_on_its_way_out() -> None:
    """Who says `least` is warned where they say it, and gets the delay that it came to."""
    with pytest.warns(DeprecationWarning, match="say Adaptive\\(delay=") as caught:
        policy = Adaptive(least=2.8)
    assert caught[0].filename == __file__
    assert policy.delay == pytest.approx(2.0)
    assert Adaptive().delay == 1.0


@pytest.mark.parametrize(
    ("kind", "fields", "text"),
    [
        (Fixed, {"seconds": 0}, "above 0; got 0.0"),
        (Exponential, {"factor": 0.99}, "1 or more; got 0.99"),
        (Exponential, {"jitter": 1.01}, "a number from 0 to 1; got 1.01"),
        (Exponential, {"initial": 31}, "Exponential.initial must not be above cap, which is 30.0"),
        (Adaptive, {"delay": 61}, "Adaptive.delay must not be above cap, which is 60.0"),
        (Adaptive, {"first": 61}, "Adaptive.first must not be above cap, which is 60.0"),
        (Retry, {"initial": 5, "cap": 4}, "Retry.initial must not be above cap, which is 4"),
        (Retry, {"attempts": 0}, "a whole number, 1 or more; got 0"),
        (Retry, {"attempts": 1.5}, "a whole number, 1 or more; got 1.5"),
    ],
)
def test_fields_that_make_no_sense_are_refused(kind: type[Any], fields: dict[str, float], text: str) -> None:
    """Zero where it would spin, a factor that shrinks, jitter beyond the whole, a start above the cap: refused."""
    with pytest.raises(UsageError) as caught:
        kind(**fields)
    assert text in str(caught.value)


# --- Fixed, Exponential, Retry ---


def test_fixed_is_fixed() -> None:
    """The same seconds whatever is known and whatever chance says."""
    assert Fixed(3)(facts(attempt=99, age=1e6), 0.9) == 3
    assert Fixed()(facts(), 0.0) == 2.0


def test_exponential_grows_to_its_cap() -> None:
    """The first poll after the first comes after `initial`, then each is longer by the factor, up to the cap."""
    policy = Exponential(initial=1.0, factor=2.0, cap=10.0)
    assert [policy(facts(attempt=attempt), 0.0) for attempt in range(7)] == [1, 1, 2, 4, 8, 10, 10]


def test_jitter_comes_after_the_cap() -> None:
    """Clamp, then jitter downwards: at the cap polls do not fall in step, and none is above it."""
    policy = Exponential(initial=1.0, factor=2.0, cap=10.0, jitter=0.5)
    delays = {policy(facts(attempt=50), roll / 10) for roll in range(10)}
    assert len(delays) == 10
    assert max(delays) == 10.0
    assert min(delays) == 5.5


@given(known=some_facts, roll=rolls, factor=st.floats(1.0, 1e300), cap=st.floats(1.0, 1e300))
def test_exponential_stays_in_bounds(known: Facts, roll: float, factor: float, cap: float) -> None:
    """No number of attempts overflows, and what is waited lies between its least and its cap."""
    delay = Exponential(initial=1.0, factor=factor, cap=cap, jitter=0.5)(known, roll)
    assert 0.5 <= delay <= cap


@given(known=some_facts, roll=rolls, heard=st.floats(0.0, HEARD_FOR))
def test_who_is_heard_of_is_polled_each_heartbeat(known: Facts, roll: float, heard: float) -> None:
    """While callbacks tell of a task each policy waits for the heartbeat, or longer where it would anyway."""
    for policy in (Fixed(2.0), Fixed(90.0), Exponential(), Exponential(cap=300.0), Adaptive()):
        assert policy(known._replace(heard=heard), roll) == max(HEARTBEAT, policy(known, roll))


def test_retry_grows_to_its_cap_and_jitters_downwards() -> None:
    """Each failure in a row waits longer, up to the cap, less what chance takes off, also after very many."""
    retry = Retry()
    assert [retry.delay(failures, 0.0) for failures in range(1, 8)] == [1, 2, 4, 8, 16, 20, 20]
    assert retry.delay(6, 0.5) == 15.0
    assert retry.delay(10**9, 0.0) == 20.0
    assert Retry(jitter=0).delay(1, 0.99) == 1.0


@pytest.mark.parametrize(
    ("hint", "delay"), [(None, 0.1), (0.0, 0.5), (3.0, 3.0), (1e9, 60.0), (math.inf, 60.0), (math.nan, 0.5)]
)
def test_retry_heeds_a_hint_within_bounds(hint: float | None, delay: float) -> None:
    """The service's Retry-After counts each time, floored and capped, and chance does not shorten it."""
    assert Retry(initial=0.2).delay(1, 0.999999, hint) == pytest.approx(delay, rel=1e-3)


def test_retry_takes_the_longer_of_hint_and_own_delay() -> None:
    """A small hint does not shorten what many failures ask for."""
    assert Retry().delay(5, 0.0, 2.0) == 16.0


@pytest.mark.parametrize("policy", [Fixed(0.2), Exponential(initial=0.2), Adaptive(first=0.2, delay=0.2, cap=0.2)])
def test_policies_heed_a_hint_within_bounds(policy: Policy) -> None:
    """The service's hint on a good answer counts at each poll, from 1 second to 60, never less."""
    hints = [0.0, 5.0, 1e9, math.inf, math.nan, 5.0]
    assert [policy(facts(hint=hint), 0.9) for hint in hints] == [1.0, 5.0, 60.0, 60.0, 1.0, 5.0]
    delay = policy(facts(), 0.0)
    assert delay is not None
    assert delay < 1.0


def test_a_hint_does_not_shorten_a_delay() -> None:
    """A policy that wants to wait longer than the service asks for does so."""
    assert Fixed(9.0)(facts(hint=2.0), 0.0) == 9.0


# --- Adaptive ---


def test_first_look_after_the_first_comes_when_a_task_can_be_done() -> None:
    """A task just started is polled again after about eight seconds; one that is older gets no such delay."""
    assert Adaptive()(facts(), 0.0) == 8.0
    assert Adaptive()(facts(progress=0), 0.0) == 8.0
    assert Adaptive()(facts(progress=0, age=1.0), 0.0) == 7.0
    assert Adaptive()(facts(age=30.0), 0.0) == pytest.approx(2.1)


def test_queue_is_sparse() -> None:
    """While a task queues polls are far apart, further the longer it lasts, under the cap."""
    policy = Adaptive()
    ages = (0.0, 60.0, 100.0, 150.0, 1e6)
    for status in (Status.NOT_START, Status.SUBMITTED):
        assert [policy(facts(status=status, age=age), 0.0) for age in ages] == [8, 8, 10, 15, 20]


def test_cap_is_short_while_progress_foretells_nothing() -> None:
    """While progress stays 0 or unknown, polls are at most five seconds apart, however old the task."""
    policy = Adaptive()
    for progress, age in itertools.product((0, None), (4.0, 19.0, 40.0, 100.0, 300.0, 1e6)):
        assert 1.4 <= policy(facts(progress=progress, age=age, changed=age), 0.0) <= 5.0
    assert policy(facts(progress=0, age=15.0), 0.0) == 5.0


def test_aims_at_the_foretold_end_and_never_past_it() -> None:
    """Polls come closer together towards the end that progress foretells, and none lies beyond it."""
    policy = Adaptive(cap=1000)
    for progress, elapsed in itertools.product((5, 20, 50, 80, 93), (10.0, 40.0, 300.0)):
        end = elapsed * 100 / progress
        now = elapsed
        delays = []
        while end - now > 1.1:
            delays.append(policy(facts(progress=progress, age=now, changed=now - elapsed), 0.0))
            now += delays[-1]
            assert now <= end or delays[-1] == 1.1
        assert delays == sorted(delays, reverse=True)


def test_progress_is_stale() -> None:
    """A step was reached when it was first seen, not now: time that passes without a new one moves no end away."""
    policy = Adaptive()
    assert policy(facts(progress=50, age=60.0, changed=40.0), 0.0) == 1.1  # reached at 20: the end was due at 40
    assert policy(facts(progress=50, age=60.0, changed=0.0), 0.0) == 20.0
    # A line through its last two steps counts too, and the earlier of the two ends.
    assert policy(facts(progress=50, age=60.0, changed=0.0, left=10.0), 0.0) == pytest.approx(0.6 * 10 - 0.04 * 70)
    assert policy(facts(progress=50, age=60.0, changed=0.0, left=100.0), 0.0) == 20.0


def test_capped_whatever_is_foretold() -> None:
    """An end foretold far away is not waited for blindly: the cap bounds every delay."""
    assert Adaptive()(facts(progress=1, age=600.0), 0.0) == 20.0
    assert Adaptive(cap=12)(facts(progress=1, age=600.0), 0.0) == 12


def test_overdue_end_is_looked_for_with_patience() -> None:
    """Past the foretold end polls are close at first and drift apart up to the cap when the task goes on and on."""
    policy = Adaptive()
    late = [policy(facts(progress=93, age=93.0 + over, changed=over), 0.0) for over in (7.0, 20.0, 100.0, 1e5)]
    assert late == pytest.approx([1.1, 1.1, 4.65, 20.0])


@pytest.mark.parametrize("status", ["PAUSED", Status.MODAL])
def test_unknown_word_is_slow(status: str) -> None:
    """An unknown status word goes on at a slow rate, and so does one that waits for its user."""
    assert Adaptive()(facts(status=status, progress=99, age=3.0), 0.0) == 60.0


@given(known=some_facts, roll=rolls)
def test_adaptive_stays_in_bounds(known: Facts, roll: float) -> None:
    """Whatever is known and was learned, rubbish too, polls are not closer than 0.4 delays, nor further than `cap`."""
    assert 0.4 * 0.9 <= Adaptive()(known, roll) <= 60.0


def test_adaptive_jitter_is_small_and_downwards() -> None:
    """At the cap too, polls of many tasks do not fall in step."""
    delays = [Adaptive()(facts(status="PAUSED"), roll / 10) for roll in range(10)]
    assert len(set(delays)) == 10
    assert max(delays) == 60.0
    assert min(delays) > 54.0


# --- lives, seen through a policy that learns nothing ---

Life = tuple[float, list[tuple[float, int | None]]]


def poll(policy: Policy, life: Life, rng: random.Random) -> tuple[int, float]:
    """Poll one life until its end is seen; return the number of polls and the delay of the last."""
    end, steps = life
    now = seen_at = 0.0
    seen: int | None = -1
    for queries in itertools.count(1):
        if now >= end:
            return queries, now - end
        progress = next(step for at, step in reversed(steps) if at <= now)
        if progress != seen:
            seen, seen_at = progress, now
        delay = policy(facts(attempt=queries, age=now, progress=progress, changed=now - seen_at), rng.random())
        assert delay is not None
        now += delay
    raise AssertionError


def score(policy: Policy, lives: Sequence[Life]) -> tuple[float, float, float]:
    """Return queries a task, mean delay and 95th percentile of the delay."""
    rng = random.Random(7)
    polls = [poll(policy, life, rng) for life in lives]
    delays = sorted(delay for _, delay in polls)
    return sum(queries for queries, _ in polls) / len(polls), sum(delays) / len(polls), delays[len(polls) * 95 // 100]


def draw(median: float, tail: float, *, reports: bool = True, count: int = 1000) -> list[Life]:
    """Draw lives around `median` seconds, a share `tail` of them up to 10 minutes long, progress in noisy steps."""
    rng = random.Random(11)
    lives: list[Life] = []
    for _ in range(count):
        end = rng.lognormvariate(math.log(median), 0.4)
        if rng.random() < tail:
            end = rng.uniform(end, 600.0)
        at = sorted(min(0.99, step / 100 + rng.gauss(0, 0.02)) * end for step in (15, 31, 46, 62, 78, 93))
        told = [step + rng.randint(-2, 2) for step in (15, 31, 46, 62, 78, 93)]
        steps: list[tuple[float, int | None]] = [(0.0, 0), *zip(at, told, strict=True)]
        lives.append((end, steps if reports else [(0.0, None)]))
    return lives


@pytest.mark.parametrize(("median", "tail"), [(40.0, 0.0), (90.0, 0.05)])
def test_adaptive_asks_far_less_and_sees_the_end_as_soon(median: float, tail: float) -> None:
    """With progress, one setting needs a third of a fixed two seconds' queries, for lives short and long."""
    lives = draw(median, tail)
    queries, mean, late = score(Adaptive(), lives)
    fixed, _, fixed_late = score(Fixed(2.0), lives)
    assert queries < 0.33 * fixed
    assert mean <= 1.05
    assert late <= 2 * fixed_late


@pytest.mark.parametrize(("median", "tail"), [(40.0, 0.0), (90.0, 0.05)])
def test_adaptive_without_progress_is_no_worse(median: float, tail: float) -> None:
    """Where no progress is reported at all, fewer queries than a fixed two seconds, seen nearly as soon."""
    lives = draw(median, tail, reports=False)
    queries, mean, _ = score(Adaptive(), lives)
    fixed, _, _ = score(Fixed(2.0), lives)
    assert queries < 0.9 * fixed
    assert mean < 1.4


@pytest.mark.parametrize(
    "steps",
    [
        [(0.0, 0), (10.0, 46)],  # sticks
        [(0.0, 0), (30.0, 50), (55.0, 93)],  # two jumps
        [(0.0, 0), (30.0, 15), (50.0, 31)],  # foretells an end far too late
        [(0.0, 0), (3.0, 62), (6.0, 99)],  # foretells an end far too early
        [(0.0, 30), (20.0, 20), (40.0, 10)],  # goes backwards
        [(0.0, 100)],  # done, and not done
    ],
)
def test_wrong_progress_costs_at_most_a_cap(steps: list[tuple[float, int | None]]) -> None:
    """However wrong the foretold end, the end is seen within the cap and without a storm of polls."""
    lives: list[Life] = [(60.0 + shift / 10, steps) for shift in range(100)]
    for life in lives:
        queries, delay = poll(Adaptive(), life, random.Random(3))
        assert delay <= 20.0
        assert queries <= 50


# --- what the session has learned ---


def learned(*lived: tuple[float, list[State]], made: bool = False) -> dict[str, Any]:
    """Return facts of tasks that ended so many seconds after they were first known, and were seen in these states."""
    life = ResidualLife()
    for end, states in lived:
        seen = states[-1].at if states else 0.0
        life.learn((POOL, KIND), Lived(states, 0.0, seen, end + 1.0, end, (POOL, KIND) if made else None))
        life.durations.saw_end(POOL, seen, end + 1.0, ended=end, kind=KIND)
    return {"life": life, "prices": Prices(), "pool": POOL, "kind": KIND}


def test_little_learned_changes_nothing() -> None:
    """Before enough tasks have ended, and with nothing learned at all, the policy answers the same."""
    few = learned((3.0, []), (3.0, []))
    for progress, age in itertools.product((None, 0, 15, 93), (0.0, 10.0, 40.0, 100.0)):
        known = facts(progress=progress, age=age)
        assert Adaptive()(known._replace(**few), 0.5) == Adaptive()(known, 0.5)


def test_polls_are_close_where_tasks_end_that_tell_nothing() -> None:
    """Without progress a task is polled closely at the age at which others ended, and seldom before and after."""
    few = learned(*[(end, []) for end in (36.0, 38.0, 40.0, 42.0, 44.0) * 20])
    delays = [Adaptive()(facts(progress=0, age=age, waited=age, **few), 0.0) for age in (0.0, 40.0, 400.0)]
    assert delays[0] == 10.0  # all may have begun to fail
    assert delays[1] < 2.0
    assert delays[2] > 2.0
    assert Adaptive()(facts(progress=0, age=20.0, waited=20.0, **few), 0.0) > 9.0


def test_a_step_is_learned() -> None:
    """Where tasks end long before what progress foretells, or long after, the poll comes where they end."""
    known = facts(progress=15, age=10.0, unseen=1.0, waited=10.0)
    assert Adaptive()(known._replace(unseen=None), 0.0) == 20.0
    for left in (8.0, 30.0):
        told = learned(*[(10.0 + left, [State(15, 10.0, 9.0, 10.0)])] * 40)
        delay = Adaptive()(known._replace(**told), 0.0)
        assert 0.8 * left < delay < 1.1 * left


def test_after_the_first_step_a_task_may_go_on_as_fast() -> None:
    """A step after a long silence may have come just now: the next look is soon, later ones as it goes on standing."""
    known = facts(progress=15, age=50.0, unseen=5.0, waited=50.0)
    first, later = (Adaptive()(known._replace(age=50.0 + since, changed=since), 0.0) for since in (0.0, 16.0))
    assert 10.0 < first < 17.0
    assert later == 20.0


def test_a_storm_hastens_what_is_not_learned() -> None:
    """Where tasks end before their time also a task of a kind that nothing is known of is polled soon."""
    known = {"pool": POOL, "kind": KIND, "life": ResidualLife(), "prices": Prices()}
    made = facts(attempt=0, status=Status.SUBMITTED, waited=0.0, **known)
    assert Adaptive()(made, 0.0) == 8.0
    assert made.life is not None
    for _ in range(10):
        made.life.learn_told((POOL, KIND), 3.0)
    assert Adaptive()(made, 0.0) == 8.0
    made.life.most_fail = True
    assert Adaptive()(made, 0.0) < 4.0


def test_a_step_that_was_never_seen_goes_by_the_line() -> None:
    """Of a kind of which enough have ended a new step is as the straight line has it, and polled with a margin."""
    told = learned(*[(20.0, [State(15, 3.0, 2.0, 3.0)])] * 40)
    delay = Adaptive()(facts(progress=50, age=10.0, unseen=1.0, **told), 0.0)
    assert 5.0 < delay < 11.0


def test_a_task_that_was_just_made_goes_by_those_that_were() -> None:
    """The first poll comes when tasks made so have ended, after a few; `first` is for those of which none was seen."""
    made = facts(attempt=0, status=Status.SUBMITTED, waited=0.0)
    assert Adaptive()(made, 0.0) == 8.0
    told = learned(*[(2.0, [])] * 8, made=True)
    assert 1.0 < Adaptive()(made._replace(**told), 0.0) < 3.0


def test_a_queue_goes_by_those_that_left_it() -> None:
    """While it queues a task is polled before those that queued as long have ended, but at least each half a minute."""
    queued = [State(Silence.QUEUED, 0.0, math.nan, 0.0), State(15, 50.0, 49.0, 5.0)]
    told = learned(*[(80.0, queued)] * 20)
    known = facts(status=Status.SUBMITTED, **told)
    assert Adaptive()(known, 0.0) == 30.0
    assert Adaptive()(known._replace(age=45.0, waited=45.0), 0.0) == 30.0
    assert Adaptive()(known._replace(age=45.0, waited=45.0), 0.0) > Adaptive()(facts(status=Status.SUBMITTED), 0.0)


def test_each_delay_has_a_price_of_its_own() -> None:
    """Who lets ends be seen later polls less, and a number of polls is a bound of its own."""
    told = learned(*[(20.0, [State(15, 3.0, 2.0, 3.0)])] * 40)
    known = facts(progress=15, age=3.0, unseen=1.0, **told)
    delays = [Adaptive(delay=delay, cap=1000.0)(known, 0.0) for delay in (0.5, 1.0, 4.0)]
    assert delays == sorted(set(delays))
    Adaptive(polls=5)(known, 0.0)
    prices = told["prices"]
    assert prices.asked is prices.under(1.0, 5)
    assert prices.asked is not prices.under(1.0)


def test_load_puts_off_what_is_learned_and_what_is_not() -> None:
    """Where there is more to poll than pace, each poll waits longer, for all alike."""
    told = learned(*[(20.0, [State(15, 3.0, 2.0, 3.0)])] * 40)
    for known in (facts(progress=15, age=3.0, unseen=1.0, **told), facts(age=60.0), facts(progress=50, age=3.0)):
        delays = [Adaptive(cap=1000.0)(known._replace(load=load), 0.0) for load in (1.0, 4.0, 100.0)]
        assert delays == sorted(set(delays))


def test_the_time_of_an_answer_is_part_of_the_gap() -> None:
    """Where answers take long the next poll goes out that much earlier, and never at once."""
    known = facts(age=60.0)
    quick, slow, slower = (Adaptive()(known._replace(answers=answers), 0.0) for answers in (0.0, 1.0, 9.0))
    assert slow == quick - 1.0
    assert slower == pytest.approx(0.4)


@pytest.mark.parametrize("polls", [0, -1.0, "3", True, math.inf])
def test_polls_are_a_number(polls: Any) -> None:
    """What was meant as polls a task is not told to be seconds."""
    with pytest.raises(UsageError, match=r"Adaptive\.polls must be None, or a finite number above 0; got"):
        Adaptive(polls=polls)
