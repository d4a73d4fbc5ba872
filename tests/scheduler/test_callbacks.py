"""Callbacks: which polls they bring, which they put off, and what whoever knows the URL can do with that."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from omgmj.backoff import Adaptive, Exponential, Facts, Fixed, Policy
from omgmj.backoff.policies import HEARD_FOR, HEARTBEAT
from omgmj.protocol.callbacks import Callback
from omgmj.protocol.failures import Meaning
from omgmj.scheduler.callbacks import FOLLOW_SPACING
from omgmj.scheduler.claims import SLACK
from omgmj.scheduler.due_queue import PUSH_SPACING
from omgmj.scheduler.first_polls import ENDED_KEPT
from omgmj.scheduler.registry import Subscription
from tests.scheduler.bench import BLIP, NEVER, TICK, Bench, Sink, fails, record, whys

ADAPTIVE = Adaptive(jitter=0.0)


def hear(bench: Bench, task_id: int = 1, progress: int | None = None, *, end: bool = False) -> None:
    bench.planner.hear(Callback(task_id, goes_on=not end, progress=progress), bench.now, 0.0)


def follow(bench: Bench, task_id: int, policy: Policy = ADAPTIVE) -> Subscription:
    one = Subscription(Sink(), [task_id], policy, bench.now, None, None, follows=True)
    assert bench.planner.watch(one, bench.now, 0.0) == []
    return one


def running(policy: Policy = ADAPTIVE, *, stall: float | None = None) -> Bench:
    """Return a bench at 0 s where ID 1 was just seen running."""
    bench = Bench()
    bench.watch(1, policy=policy, stall=stall)
    bench.found("IN_PROGRESS", 15)
    return bench


# Progress.


@pytest.mark.parametrize("policy", [ADAPTIVE, Fixed(2.0), Exponential()])
def test_progress_puts_the_next_poll_off_by_the_heartbeat(policy: Policy) -> None:
    """However many claims of progress come, the next poll is a heartbeat after the last one, and no later."""
    bench = running(policy)
    for step in range(59):
        bench.now = float(step) / 50
        hear(bench)
        assert bench.due == HEARTBEAT
    bench.now = 50.0
    hear(bench)
    bench.found("IN_PROGRESS", 31)
    assert bench.now == HEARTBEAT
    assert bench.due == 2 * HEARTBEAT


def test_when_nothing_is_heard_any_more_the_policy_goes_on() -> None:
    """Two minutes after the last callback the policy decides as without any."""
    bench = running(Fixed(2.0))
    hear(bench)
    for _ in range(2):
        bench.found("IN_PROGRESS", 15)
    assert (bench.now, bench.due) == (HEARD_FOR, HEARD_FOR + 2.0)


def test_a_first_poll_is_not_put_off() -> None:
    """Nobody knows yet that the task is there: claims change nothing, before the first poll and while it is out."""
    bench = Bench()
    bench.watch(1, policy=Fixed(2.0))
    hear(bench, progress=15)
    assert bench.due == 0.0
    bench.poll()
    hear(bench)
    bench.found_at_home("IN_PROGRESS", 31)
    assert bench.due == HEARTBEAT


def test_what_somebody_wants_now_is_not_put_off() -> None:
    """A push, a poll for who wants one only, one that waits for a page, and that of an image to come are made."""
    bench = running(Fixed(2.0))
    hear(bench, end=True)
    hear(bench, progress=15)
    assert bench.due == 0.0
    bench = running(Fixed(2.0))
    bench.watch(1, timeout=0)
    hear(bench, progress=15)
    assert bench.due == 0.0
    bench = running(Fixed(2.0))
    bench.planner.due_queue.hold(1, 3.5)
    hear(bench, progress=0)
    bench.now = 1.0
    hear(bench, progress=90)
    assert bench.due == 3.5
    bench = running(Fixed(2.0))
    bench.saw(record(1, "SUCCESS", kind="IMAGINE"), poll=False)
    hear(bench, progress=15)
    assert bench.due == 2.0


def test_a_stall_limit_holds() -> None:
    """A wait that stalls earlier than the heartbeat is polled then, and ends."""
    bench = running(stall=20.0)
    hear(bench)
    assert bench.due == 20.0
    assert len(bench.found("IN_PROGRESS", 15).ended) == 1


def test_a_custom_policy_keeps_its_word() -> None:
    """A policy of one's own sees what was heard, and decides: by itself, with no heartbeat unless it wants one."""
    heard: list[float | None] = []

    def own(facts: Facts, _roll: float) -> float:
        heard.append(facts.heard)
        return 5.0

    bench = running(own)
    bench.now = 1.0
    hear(bench)
    hear(bench)
    assert bench.due == 5.0
    bench.found("IN_PROGRESS", 31)
    assert heard == [None, 0.0, 4.0]


@pytest.mark.parametrize("policy", [lambda facts, _: None if facts.heard is not None else 2.0, None])
def test_a_callback_ends_no_wait(policy: Policy | None) -> None:
    """Where a policy says stop, or fails, as a callback is heard, it is asked again after the poll that is due."""
    asked: list[float | None] = []

    def breaks(facts: Facts, roll: float) -> float:
        asked.append(facts.heard)
        return 2.0 if facts.heard is None else fails(facts, roll)

    bench = running(policy or breaks)
    bench.now = 1.0
    hear(bench)
    assert (bench.planner.registry.watched, bench.due) == (1, 2.0)
    assert len(bench.found("IN_PROGRESS", 31).ended) == 1


# The end.


def test_a_claimed_end_brings_a_poll_now_and_nothing_is_put_off_after_it() -> None:
    """The service may tell of the end before its own records do: then the policy goes on, whatever is claimed late."""
    bench = running(Fixed(2.0))
    hear(bench)
    bench.now = 10.0
    hear(bench, end=True)
    assert bench.due == 10.0
    bench.found("IN_PROGRESS", 93)
    assert bench.due == 12.0
    hear(bench, progress=93)
    assert bench.due == 12.0


def test_the_end_that_is_foretold_is_a_time_to_poll() -> None:
    """Each claim moves it, either way; a poll in between leaves it, and no claim makes it later than the heartbeat."""
    bench = running()
    hear(bench, progress=0)
    bench.now = 10.0
    hear(bench, progress=50)
    assert bench.due == 20.0 + SLACK
    bench.now = 15.0
    hear(bench, progress=60)
    assert bench.due == 25.0 + SLACK
    bench.saw(record(1, "IN_PROGRESS", 62), poll=False)
    assert bench.due == 25.0 + SLACK
    bench.now = 20.0
    hear(bench, progress=61)
    assert bench.due == pytest.approx(20.0 + 39 / 61 * 20.0 + SLACK, abs=TICK)
    bench.now = 70.0
    hear(bench, progress=62)
    assert bench.due == 15.0 + HEARTBEAT
    bench.found("IN_PROGRESS", 93)
    assert bench.now == 15.0 + HEARTBEAT


def test_a_waiter_who_comes_later_keeps_what_it_wants() -> None:
    """One who joins with a policy that wants a poll sooner than was foretold gets it, whatever is claimed later."""
    bench = running()
    hear(bench, progress=0)
    bench.now = 10.0
    hear(bench, progress=50)
    bench.watch(1, policy=lambda _facts, _roll: 11.0)
    assert bench.due == 11.0
    hear(bench, progress=60)
    assert bench.due == 11.0


# Tasks made here.


def made(bench: Bench, *, webhook: bool = True) -> None:
    bench.planner.first_polls.created(1, bench.now, webhook=webhook)


def test_a_task_made_with_a_webhook_waits_for_its_callbacks() -> None:
    """Its first poll comes a heartbeat after it was made; where none was heard by then, the policy goes on."""
    bench = Bench()
    made(bench)
    bench.now = 5.0
    bench.watch(1, policy=ADAPTIVE)
    assert bench.due == HEARTBEAT
    bench.found("IN_PROGRESS", 15)
    assert bench.due <= HEARTBEAT + ADAPTIVE.cap
    other = Bench()
    made(other, webhook=False)
    other.watch(1, policy=ADAPTIVE)
    assert other.due == ADAPTIVE.first


def test_the_end_of_a_task_made_here_is_polled_for() -> None:
    """Its first poll comes with the claim of its end, also where that came before anybody waited, or knew the ID."""
    bench = Bench()
    made(bench)
    bench.watch(1, policy=ADAPTIVE)
    hear(bench, progress=15)
    assert bench.due == HEARTBEAT
    bench.now = 20.0
    hear(bench, end=True)
    assert bench.due == 20.0
    for early in (True, False):
        bench = Bench()
        if early:
            hear(bench, end=True)
        made(bench)
        bench.now = 3.0
        if not early:
            hear(bench, end=True)
        bench.watch(1, policy=ADAPTIVE)
        assert bench.due == 3.0
        bench.found("IN_PROGRESS", 15)
        assert bench.due < 3.0 + HEARTBEAT


def test_claimed_ends_of_strange_ids_are_bounded() -> None:
    """Whoever claims the ends of very many IDs makes nothing grow, and no poll."""
    bench = running()
    due = bench.due
    for task_id in range(2, 3 * ENDED_KEPT):
        hear(bench, task_id, end=True)
        hear(bench, task_id, 50)
    assert len(bench.planner.first_polls._ended) == ENDED_KEPT
    assert set(bench.planner._claims.of) == set()
    assert bench.due == due


def test_webhooks_that_lead_elsewhere_are_waited_for_once() -> None:
    """Where none has come for a heartbeat, later tasks are polled as the policy says, until one does come."""
    bench = Bench()
    made(bench)
    bench.now = HEARTBEAT
    bench.planner.first_polls.created(2, bench.now, webhook=True)
    bench.watch(2, policy=ADAPTIVE)
    assert bench.due == HEARTBEAT + ADAPTIVE.first
    hear(bench, 2, progress=15)
    assert bench.due == 2 * HEARTBEAT
    bench.planner.first_polls.created(3, bench.now, webhook=True)
    bench.watch(3, policy=ADAPTIVE)
    assert bench.due == 2 * HEARTBEAT


# Follow.


def test_who_follows_is_polled_as_ever_and_for_progress_too() -> None:
    """Nothing is put off for a follow, and a claim of progress brings a poll five seconds after the last one."""
    bench = Bench()
    bench.watch(1, policy=Fixed(600.0))
    follow(bench, 1, Fixed(20.0))
    bench.found("IN_PROGRESS", 15)
    assert bench.due == 20.0
    bench.now = 1.0
    for _ in range(500):
        hear(bench, progress=31)
    assert bench.due == FOLLOW_SPACING
    assert bench.planner.due_queue._polls.size < 10
    bench.found("IN_PROGRESS", 31)
    assert bench.due == FOLLOW_SPACING + 20.0
    bench.now = 15.0
    hear(bench, progress=46)
    assert bench.due == 15.0


def test_a_follow_and_a_wait_with_one_policy_are_asked_apart() -> None:
    """A policy that two share is asked for each: what was heard counts for the wait alone."""
    bench = Bench()
    heard: list[float | None] = []

    def own(facts: Facts, _roll: float) -> float:
        heard.append(facts.heard)
        return 3.0 if facts.heard is None else HEARTBEAT

    bench.watch(1, policy=own)
    follow(bench, 1, own)
    hear(bench)
    bench.found("IN_PROGRESS", 15)
    assert heard == [0.0, None]
    assert bench.due == 3.0


# Attacks.


def claims_of(chance: random.Random, kind: str) -> tuple[int, int | None, bool]:
    """Draw one claim of an attack: an ID, a progress, and whether it is an end."""
    end = {"ends": True, "progress": False, "any": chance.random() < 0.3}[kind]
    return chance.choice([1, 1, 1, 7]), chance.choice([None, 0, 1, 50, 99, 100]), end


@pytest.mark.parametrize("kind", ["ends", "progress", "any"])
@pytest.mark.parametrize("followed", [False, True])
@pytest.mark.parametrize("policy", [ADAPTIVE, Fixed(600.0)])
def test_an_attack_costs_a_poll_a_second_or_a_delay_of_60_seconds(kind: str, followed: bool, policy: Policy) -> None:
    """Claims a hundred times a second: in any window at most a poll a second more, and no gap above the heartbeat."""
    chance = random.Random(kind)
    bench = Bench()
    bench.watch(1, policy=policy)
    if followed:
        follow(bench, 1, policy)
    bench.found("IN_PROGRESS", 15)
    polls = [0.0]
    for step in range(1, 20_000):
        bench.now = step / 100
        if chance.random() < 0.9:
            task_id, progress, end = claims_of(chance, kind)
            hear(bench, task_id, progress, end=end)
        if bench.due <= bench.now:
            bench.found("IN_PROGRESS", 15)
            polls.append(bench.now)
    own = 200 / (1.4 if policy is ADAPTIVE else 600)
    assert len(polls) <= 200 / PUSH_SPACING + own + 2
    if policy is not ADAPTIVE:
        assert min((b - a for a, b in pairwise(polls[1:])), default=PUSH_SPACING) >= PUSH_SPACING - 2 * TICK
    longest = 600.0 if policy is not ADAPTIVE and kind == "progress" and not followed else HEARTBEAT
    assert max(b - a for a, b in zip(polls, [*polls[1:], 200.0], strict=True)) <= longest + 0.1
    bench.found("SUCCESS")
    assert bench.planner._claims.of == {}
    assert bench.due == NEVER


def test_polls_that_fail_are_repeated_whatever_is_claimed() -> None:
    """Claims of progress put a repeated poll off no further than a heartbeat after the last good one."""
    bench = running(Fixed(2.0))
    bench.fail(BLIP, Meaning.TRANSIENT)
    assert bench.due == 3.0
    hear(bench, progress=15)
    assert bench.due == HEARTBEAT
    bench.fail(BLIP, Meaning.TRANSIENT)
    hear(bench, progress=31)
    assert bench.due <= HEARTBEAT + 4.0
    assert whys(bench.fail(BLIP, Meaning.TRANSIENT)) == []
