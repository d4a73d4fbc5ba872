"""The limiter: places in flight, the rate's window, three classes, and slots that are given late."""

from __future__ import annotations

import asyncio
import contextvars
import math
import random
from collections.abc import Callable

import looptime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omgmj.backoff.rate import Rate
from omgmj.client.limiter import DIRECT, FIRST, POLL, SHARE, Limiter

pytestmark = pytest.mark.in_memory


class Polls:
    """A source with polls that fall due at given times; each takes `seconds` and then gives its place back."""

    def __init__(self, limiter: Limiter, *, first: list[float], poll: list[float], seconds: float = 0.0) -> None:
        self.limiter = limiter
        self.waiting = {FIRST: sorted(first), POLL: sorted(poll)}
        self.seconds = seconds
        self.started: list[tuple[float, int, float]] = []
        self.ticks: list[float] = []
        self.decided: list[float] = []
        self.pauses: list[tuple[float, float]] = []
        self.wanted = math.inf
        limiter.source = self

    def tick(self, now: float) -> float:
        self.ticks.append(now)
        if self.wanted <= now:
            self.wanted = math.inf
        return self.wanted

    def advance(self, now: float) -> tuple[float, float]:
        self.decided.append(now)
        return min(self.waiting[FIRST], default=math.inf), min(self.waiting[POLL], default=math.inf)

    def stood_still(self, now: float, pause: float) -> None:
        self.pauses.append((now, pause))

    def crash(self, error: Exception) -> None:
        raise error

    def start(self, kind: int, now: float) -> None:
        self.started.append((now, kind, self.waiting[kind].pop(0)))
        asyncio.get_running_loop().call_later(self.seconds, self.limiter.leave)


def make(rate: float = 1e6, places: int = 64) -> Limiter:
    loop = asyncio.get_running_loop()
    return Limiter(Rate(rate, loop.time()), places, loop)


def clock() -> float:
    return asyncio.get_running_loop().time()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def run(body: Callable[[], object]) -> None:
    """Run a coroutine function in virtual time, for tests that Hypothesis calls many times."""
    with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(start=0)) as runner:
        runner.run(body())  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(
    rate=st.floats(0.7, 300),
    places=st.integers(1, 12),
    first=st.lists(st.floats(0, 5), max_size=30),
    poll=st.lists(st.floats(0, 5), max_size=30),
    direct=st.lists(st.tuples(st.floats(0, 5), st.floats(0, 0.5), st.booleans()), max_size=30),
    seconds=st.floats(0, 0.5),
)
def test_never_above_places_and_rate(
    rate: float,
    places: int,
    first: list[float],
    poll: list[float],
    direct: list[tuple[float, float, bool]],
    seconds: float,
) -> None:
    """Whatever falls due and whoever leaves early, places and the rate's window hold, and all get their slot."""

    async def body() -> None:
        limiter = make(rate, places)
        taken: list[float] = []
        peak = 0

        class Counted(Rate):
            __slots__ = ()

            def take(self, now: float) -> None:
                nonlocal peak
                taken.append(now)
                peak = max(peak, limiter.in_flight + 1)
                super().take(now)

        limiter.rate = Counted(rate, clock())
        source = Polls(limiter, first=list(first), poll=list(poll), seconds=seconds)

        async def call(at: float, takes: float, *, impatient: bool) -> bool:
            await asyncio.sleep(at)
            try:
                async with asyncio.timeout(takes if impatient else None):
                    await limiter.enter()
            except TimeoutError:
                return False
            try:
                await asyncio.sleep(takes)
            finally:
                limiter.leave()
            return True

        limiter.dispatch()
        served = await asyncio.gather(*(call(at, takes, impatient=soon) for at, takes, soon in direct))
        while source.waiting[FIRST] or source.waiting[POLL] or limiter.in_flight:  # noqa: ASYNC110 (virtual time)
            await asyncio.sleep(0.5)
        assert peak <= places
        assert all(done or impatient for done, (_, _, impatient) in zip(served, direct, strict=True))
        assert len(source.started) == len(first) + len(poll)
        assert all(now >= due - 2e-6 for now, _, due in source.started)
        burst = max(1, math.ceil(rate * 0.02))
        for i, begin in enumerate(taken):
            for j in range(i, len(taken)):
                assert j - i + 1 <= rate * (taken[j] - begin + 1e-5) + burst + 1e-6

    run(body)


async def test_direct_calls_go_first_and_others_get_their_share() -> None:
    """With all three classes waiting, direct calls get most slots and each other class at least one in four."""
    limiter = make(rate=100.0, places=1)
    order: list[int] = []
    source = Polls(limiter, first=[0.0] * 40, poll=[0.0] * 40)

    async def call() -> None:
        await limiter.enter()
        order.append(len(source.started))
        limiter.leave()

    await limiter.enter()  # Holds the only place until all wait.
    calls = [asyncio.create_task(call()) for _ in range(40)]
    await settle()
    limiter.leave()
    await asyncio.gather(*calls)
    # A call's entry is how many polls went before it.
    assert order[0] <= 1
    kinds: list[int] = []
    for before in order:
        kinds += [kind for _, kind, _ in source.started[len([k for k in kinds if k != DIRECT]) : before]]
        kinds.append(DIRECT)
    assert kinds.count(DIRECT) == 40
    assert kinds.count(DIRECT) >= len(kinds) / 2
    for at in range(4, len(kinds) - SHARE):
        window = kinds[at : at + SHARE]
        assert FIRST in window
        assert POLL in window


async def test_first_polls_go_before_polls_which_get_one_slot_in_four() -> None:
    """Without direct calls first polls take three slots of four, others the fourth."""
    limiter = make(rate=100.0)
    source = Polls(limiter, first=[0.0] * 30, poll=[0.0] * 30)
    limiter.dispatch()
    await asyncio.sleep(0.4)
    kinds = [kind for _, kind, _ in source.started]
    assert kinds[:8] == [FIRST, FIRST, FIRST, POLL] * 2
    assert kinds.count(POLL) * SHARE >= len(kinds) - SHARE
    await asyncio.sleep(5.0)


async def test_a_class_that_does_not_wait_saves_nothing_up() -> None:
    """Polls that fall due later have no claim from the time when none was due."""
    limiter = make(rate=10.0)
    source = Polls(limiter, first=[0.0] * 40, poll=[2.0])
    limiter.dispatch()
    await asyncio.sleep(10.0)
    at = next(now for now, kind, _ in source.started if kind == POLL)
    assert 2.2 < at <= 2.41


async def test_slots_are_given_late() -> None:
    """A rate that is lowered while many wait holds from that moment: nothing was handed out ahead."""
    limiter = make(rate=64.0)
    entered: list[float] = []

    async def call() -> None:
        await limiter.enter()
        entered.append(clock())
        await asyncio.sleep(0)
        limiter.leave()

    calls = [asyncio.create_task(call()) for _ in range(100)]
    await asyncio.sleep(0.5)
    before = len(entered)
    limiter.rate = Rate(4.0, clock())
    await asyncio.sleep(1.0)
    assert before > 25
    assert len(entered) - before <= 5 + 1
    await asyncio.gather(*calls)
    assert len(entered) == 100


async def test_retry_after_holds_all_classes() -> None:
    """While a Retry-After holds, one slot is given to try it, to nobody else, and then all go on."""
    limiter = make(rate=100.0)
    source = Polls(limiter, first=[0.0], poll=[0.0])
    limiter.rate.saw_429(clock(), clock(), 7.0)
    call = asyncio.create_task(limiter.enter())
    await asyncio.sleep(1.9)
    assert not call.done()
    await asyncio.sleep(5.0)
    assert call.done()
    assert not source.started
    await asyncio.sleep(0.3)
    assert len(source.started) == 2
    limiter.leave()


async def test_due_polls_start_on_time_with_one_timer() -> None:
    """One timer wakes the limiter for what falls due next, and a nearer one replaces it."""
    limiter = make()
    source = Polls(limiter, first=[], poll=[5.0, 9.0])
    limiter.dispatch()
    assert _timers() == 1
    source.waiting[FIRST] = [2.0]
    limiter.dispatch()
    limiter.dispatch()
    assert _timers() == 1
    await asyncio.sleep(20.0)
    assert [(kind, due) for _, kind, due in source.started] == [(FIRST, 2.0), (POLL, 5.0), (POLL, 9.0)]
    assert [now for now, *_ in source.started] == pytest.approx([2.0, 5.0, 9.0], abs=1e-5)
    assert _timers() == 0


async def test_what_falls_due_before_the_rate_has_a_slot_wakes_nobody() -> None:
    """What is sent next is decided when there is a slot for it, and not when it falls due before that."""
    limiter = make(rate=1.0)
    source = Polls(limiter, first=[0.0], poll=[0.3, 0.6])
    limiter.dispatch()
    await asyncio.sleep(5.0)
    assert [now for now, *_ in source.started] == pytest.approx([0.0, 1.0, 2.0], abs=1e-5)
    assert sorted({round(now, 3) for now in source.decided}) == [0.0, 1.0, 2.0]


async def test_the_source_is_ticked_when_it_wants_to_be() -> None:
    """A source without polls is told when its time has come, and only then."""
    limiter = make()
    source = Polls(limiter, first=[], poll=[])
    source.wanted = 30.0
    limiter.dispatch()
    await asyncio.sleep(29.0)
    assert len(source.ticks) == 1
    await asyncio.sleep(2.0)
    assert source.ticks[1:] == pytest.approx([30.0], abs=1e-5)


async def test_a_limiter_without_source_serves_direct_calls_in_turn() -> None:
    """Direct calls need no source, and go in the order they came."""
    limiter = make(rate=50.0, places=2)
    order: list[int] = []

    async def call(number: int) -> None:
        await limiter.enter()
        order.append(number)
        await asyncio.sleep(0.1)
        limiter.leave()

    await asyncio.gather(*(call(number) for number in range(20)))
    assert order == list(range(20))
    assert limiter.in_flight == 0


async def test_cancelled_while_it_queues() -> None:
    """Whoever is cancelled in the queue is passed over and costs no slot."""
    limiter = make(rate=10.0, places=1)
    await limiter.enter()
    calls = [asyncio.create_task(limiter.enter()) for _ in range(5)]
    await settle()
    for call in calls[:4]:
        call.cancel()
    await settle()
    assert all(call.cancelled() for call in calls[:4])
    limiter.leave()
    await asyncio.sleep(0.2)
    assert calls[4].done()
    assert limiter.in_flight == 1
    limiter.leave()
    assert limiter.in_flight == 0


async def test_cancelled_at_the_moment_of_its_slot() -> None:
    """Whoever is cancelled between being given a slot and waking up gives it back, and the next one has it."""
    limiter = make(places=1)
    await limiter.enter()
    unlucky, next_one = asyncio.create_task(limiter.enter()), asyncio.create_task(limiter.enter())
    await settle()
    limiter.leave()  # The slot is the unlucky one's now, but its task has not run.
    assert limiter.in_flight == 1
    unlucky.cancel()
    await asyncio.sleep(0.1)
    assert unlucky.cancelled()
    assert next_one.done()
    assert not next_one.cancelled()
    assert limiter.in_flight == 1
    limiter.leave()


async def test_closed_limiter_gives_nothing_and_keeps_no_timer() -> None:
    """After `close` no slot is given, by whatever way, and no timer is left in the loop."""
    limiter = make(rate=1.0)
    source = Polls(limiter, first=[0.0] * 3, poll=[50.0])
    limiter.dispatch()
    assert len(source.started) == 1
    limiter.close()
    limiter.close()
    call = asyncio.create_task(limiter.enter())
    await asyncio.sleep(0)
    assert _timers() == 0
    await asyncio.sleep(100.0)
    assert limiter.in_flight == 0  # The poll that was out could still give its place back.
    assert len(source.started) == 1
    assert not call.done()
    call.cancel()
    await settle()


async def test_timers_carry_nobodys_variables() -> None:
    """What the limiter starts by its timer runs in an empty context, not in that of whoever was there last."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nobody's")
    seen: list[str] = []
    limiter = make()
    source = Polls(limiter, first=[], poll=[3.0])
    started = source.start

    def start(kind: int, now: float) -> None:
        seen.append(variable.get())
        started(kind, now)

    source.start = start  # type: ignore[method-assign]
    variable.set("mine")
    limiter.dispatch()
    await asyncio.sleep(5.0)
    assert seen == ["nobody's"]


async def test_full_places_need_no_timer() -> None:
    """With all places taken nothing is timed: the next slot comes when somebody leaves."""
    limiter = make(rate=1.0, places=1)
    await limiter.enter()
    call = asyncio.create_task(limiter.enter())
    await asyncio.sleep(0)
    assert _timers() == 0
    await asyncio.sleep(10.0)
    assert not call.done()
    limiter.leave()
    await settle()
    assert call.done()
    limiter.leave()


async def test_random_cancellations_lose_no_place() -> None:
    """Many calls cancelled at random moments leave no place taken and nobody waiting for ever."""
    chance = random.Random(7)
    limiter = make(rate=200.0, places=3)

    async def call() -> None:
        await limiter.enter()
        try:
            await asyncio.sleep(chance.random() * 0.02)
        finally:
            limiter.leave()

    calls = [asyncio.create_task(call()) for _ in range(300)]
    for victim in chance.sample(calls, 150):
        await asyncio.sleep(chance.choice([0, 0, 0.005]))
        victim.cancel()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(result is None for result in results) >= 150
    assert limiter.in_flight == 0


def _timers() -> int:
    """Return how many timers of the limiter the loop holds."""
    scheduled = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    return sum(not timer.cancelled() and "Timer._run" in repr(timer) for timer in scheduled)
