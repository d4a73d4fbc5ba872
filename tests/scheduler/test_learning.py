"""What a session learns as tasks end: whole lives, polled by the planner with the default policy."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest

from benchmarks.lives import Run, Score, told
from benchmarks.simulation import simulate
from omgmj.backoff import Adaptive, Facts, Fixed
from omgmj.backoff.price import FIRST
from omgmj.models import Status, Task
from omgmj.protocol.callbacks import Callback
from omgmj.scheduler.learning import Found
from omgmj.scheduler.registry import Subscription
from tests.scheduler.bench import Bench, Sink

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def stream(life: Callable[[random.Random, int], Any], count: int = 500) -> Run:
    """Draw a stream of tasks, one each ten seconds on average."""
    chance, at, starts = random.Random(11), 0.0, []
    for _ in range(count):
        at += chance.expovariate(0.1)
        starts.append(round(at, 3))
    return Run(starts, [life(chance, number) for number in range(count)])


def compare(run: Run) -> tuple[Score, float]:
    """Return the default policy's score over the last tasks of a run, and its polls of a fixed interval of 2 s."""
    ours, fixed = simulate(run, Adaptive()), simulate(run, Fixed(2.0))
    return ours, ours.polls / fixed.polls


def lasting(median: float, tail: float = 0.0) -> Callable[[random.Random], float]:
    """Draw durations around a median, a share `tail` of them up to ten minutes."""

    def draw(chance: random.Random) -> float:
        end = chance.lognormvariate(math.log(median), 0.4)
        return chance.uniform(end, max(end, 600.0)) if chance.random() < tail else end

    return draw


@pytest.mark.parametrize(("median", "tail", "share"), [(40.0, 0.0, 0.3), (90.0, 0.05, 0.22)])
def test_with_progress_a_third_of_the_polls(median: float, tail: float, share: float) -> None:
    """With progress a third of the polls of a fixed two seconds do, learning included, and ends are seen as soon."""
    end = lasting(median, tail)
    ours, polls = compare(stream(lambda chance, _: told(chance, end(chance))))
    assert polls < share
    assert ours.mean <= 1.05
    assert ours.p95 <= 3.5


@pytest.mark.parametrize("shown", [None, 0])
def test_without_progress_it_pays_too(shown: int | None) -> None:
    """With no progress reported, or 0 to the end, a quarter of the polls is spared."""
    end = lasting(40.0)
    run = stream(lambda chance, _: told(chance, end(chance))._replace(steps=((0.0, shown),)))
    ours, polls = compare(run)
    assert polls < 0.78
    assert ours.mean <= 1.15


BENT: dict[str, Callable[[random.Random, float], tuple[tuple[float, int | None], ...]]] = {
    "sticks": lambda chance, end: tuple((end * at / 200, at) for at in range(10, chance.randrange(30, 100), 15)),
    "two jumps": lambda chance, end: ((end * chance.uniform(0.4, 0.6), 50), (end * 0.9, 93)),
    "far too late": lambda _, end: ((end * 0.5, 15), (end * 0.8, 31), (end * 0.95, 62)),
    "far too early": lambda _, end: ((end * 0.1, 31), (end * 0.2, 62), (end * 0.3, 93)),
    "goes back": lambda _, end: ((end * 0.3, 60), (end * 0.5, 20), (end * 0.8, 70)),
    "done and not done": lambda _, end: ((end * 0.5, 100),),
}


@pytest.mark.parametrize("shape", BENT)
def test_progress_that_misleads_is_learned(shape: str) -> None:
    """However progress goes, the polls are far fewer than those of a fixed two seconds, and ends are seen in time."""
    end = lasting(40.0)

    def life(chance: random.Random, _: int) -> Any:
        one = told(chance, end(chance))
        return one._replace(steps=((0.0, 0), *BENT[shape](chance, one.end)))

    ours, polls = compare(stream(life))
    assert polls < (0.66 if shape == "sticks" else 0.55)
    assert ours.mean <= 1.15
    assert ours.p95 <= 4.5


@pytest.mark.parametrize(("before", "after"), [(30.0, 90.0), (90.0, 30.0), (30.0, 4.0)])
def test_a_shift_is_followed(before: float, after: float) -> None:
    """When tasks suddenly run three times as long, or end at once, polls are soon as few and as timely as ever."""
    ends = lasting(before), lasting(after)
    ours, polls = compare(stream(lambda chance, number: told(chance, ends[number >= 250](chance))))
    assert polls < 0.5
    assert ours.mean <= 1.15


@pytest.mark.parametrize(("median", "tail"), [(40.0, 0.0), (90.0, 0.05)])
def test_when_all_begin_to_fail(median: float, tail: float) -> None:
    """When from one task to the next all fail, half within seconds, ends are still seen in time."""
    end = lasting(median, tail)

    def life(chance: random.Random, number: int) -> Any:
        one = told(chance, end(chance))
        if number < 250:
            return one
        early = chance.random() < 0.5
        return one._replace(end=chance.uniform(1.0, 6.0) if early else one.end * chance.uniform(0.3, 1.0), fails=True)

    ours, _ = compare(stream(life))
    assert ours.mean <= 1.25
    assert ours.p95 <= 4.5


def test_a_policy_that_wraps_another_learns_too() -> None:
    """A function of facts that asks `Adaptive` is planned for as that is: its price moves as its tasks end."""
    end = lasting(40.0)
    run = stream(lambda chance, _: told(chance, end(chance)), 200)
    patient = Adaptive(delay=3.0)
    wrapped = simulate(run, lambda facts, roll: max(0.0, patient(facts, roll)))
    assert wrapped == simulate(run, patient)
    assert wrapped.polls < 0.8 * simulate(run, Adaptive()).polls


# --- what policies are told ---


def record(task_id: int, status: Status, progress: int | None, **times: float) -> Task:
    """Return a record, whose times are in seconds by the service's clock."""
    moments: dict[str, Any] = {name: EPOCH + timedelta(seconds=seconds) for name, seconds in times.items()}
    return Task(
        task_id,
        status,
        pool="FAST",
        kind="IMAGINE",
        progress=progress,
        image_url="https://images.example/1.png" if status == Status.SUCCESS else None,
        source=f"{status} {progress}".encode(),
        **moments,
    )


def lives(bench: Bench, task_id: int, *, ahead: float = 0.0, policy: Any = None) -> None:
    """Watch one task, which runs for 20 s, by a service whose clock is ahead of the bench's by so many seconds."""
    start = bench.now
    bench.watch(task_id, policy=policy)
    for progress in (10, 50, 99):
        bench.poll()
        bench.now = start + progress / 5
        bench.saw(record(task_id, Status.IN_PROGRESS, progress, started_at=start + ahead))
    bench.poll()
    bench.now = start + 20.5
    task = record(task_id, Status.SUCCESS, 100, started_at=start + ahead, finished_at=start + ahead + 20.0)
    bench.saw(task)
    bench.now += 30.0


def test_age_goes_by_the_clock_that_records_tell() -> None:
    """After a few ends the service's clock is known by its own times, however wrong its `Date` is."""
    bench = Bench()
    for task_id in range(1, 8):
        lives(bench, task_id, ahead=77.0)
    heard: list[Facts] = []

    def policy(facts: Facts, _roll: float) -> float:
        heard.append(facts)
        return 4.0

    start = bench.now
    bench.watch(9, policy=policy)
    bench.poll()
    bench.now += 5.0
    bench.saw(record(9, Status.IN_PROGRESS, 25, started_at=start + 77.0), age=900.0)
    assert heard[0].age == pytest.approx(5.0, abs=0.5)


def test_polls_that_failed_are_not_the_price_s_fault() -> None:
    """An end that was seen late because polls failed meanwhile, or an answer hung, counts from the first of them."""
    bench = Bench()
    learning, start = bench.planner.learning, bench.now
    bench.watch(1, policy=Adaptive())
    bench.poll()
    bench.now = start + 5.0
    bench.saw(record(1, Status.IN_PROGRESS, 50, started_at=start), age=5.0)
    bench.poll()
    learning.forget(1)
    for asked_at in (7.0, 20.0, 40.0):
        learning.on_asked(1, start + asked_at)
    bench.now = start + 60.0
    task = record(1, Status.SUCCESS, 100, started_at=start, finished_at=start + 6.0)
    bench.saw(task, ended_ago=54.0)
    assert learning.last_price is not None
    assert learning.last_price.mean_delay < 3.0


@pytest.mark.parametrize("way", ["page", "page of others"])
def test_what_an_id_waits_for_its_page_moves_no_price(way: str) -> None:
    """Of a page that starts half a minute late for want of pace only what lies before the ID was due counts."""
    bench = Bench()
    learning, start = bench.planner.learning, bench.now
    bench.watch(1, 2, policy=Adaptive())
    for task_id in (1, 2):
        bench.poll()
        bench.saw(record(task_id, Status.IN_PROGRESS, 50, started_at=start), age=0.0)
    due = bench.planner.due_queue.heads[False].due
    bench.now = due + 30.0
    task = record(1, Status.FAILURE, 50, started_at=start, finished_at=due - 1.0)
    bench.willing.pays = way == "page"
    if way == "page of others":
        learning.on_began(due, bench.now)  # A poll had to wait too.
        bench.listed(task, poll=False, ended_ago=31.0)
    else:
        assert not isinstance(bench.planner.take(bench.now, fresh=False)[0], int)
        bench.saw(task, ended_ago=31.0)
    assert learning.last_price is not None
    assert 0.5 < learning.last_price.mean_delay < 2.5


def crowded(bench: Bench, late: float, polls: int = 2000) -> None:
    """Have ten IDs watched, and polls go out late."""
    bench.watch(*range(100, 110))
    for _ in range(10):
        bench.poll()
    for _ in range(polls):
        bench.planner.learning.on_began(bench.now - late, bench.now)


def test_load_rises_while_polls_are_late_and_falls_again() -> None:
    """Where polls go out long after they were due there is more to poll than pace; prices learn nothing from that."""
    bench = Bench()
    learning = bench.planner.learning
    crowded(bench, 10.0)
    assert learning.load(bench.now) > 2.0
    lives(bench, 1, policy=Adaptive())
    assert learning.last_price is None
    for _ in range(3000):
        learning.on_began(bench.now, bench.now)
    assert learning.load(bench.now) == pytest.approx(1.0)
    lives(bench, 2, policy=Adaptive())
    assert learning.last_price is not None
    assert learning.last_price.mean_polls == 4


def test_load_is_over_soon_after_a_storm() -> None:
    """Load falls by itself where no poll had to wait for a while, and at once where nearly all have ended."""
    bench = Bench()
    crowded(bench, 10.0)
    learning = bench.planner.learning
    assert learning.load(bench.now + 5.0) == 10
    assert learning.load(bench.now + 120.0) == 1.0
    for task_id in range(101, 110):
        bench.saw(record(task_id, Status.FAILURE, None))
    assert learning.load(bench.now) == 1.0


def test_a_gap_makes_no_poll_late_and_moves_no_price() -> None:
    """After an outage, or where the process stood still, load is as before; what ended meanwhile is seen late once."""
    bench = Bench()
    learning = bench.planner.learning
    for task_id in range(1, 5):
        lives(bench, task_id, policy=Adaptive())
    price = learning.last_price
    assert price is not None
    before, start = price.value, bench.now
    bench.watch(9, policy=Adaptive())
    bench.poll()
    bench.saw(record(9, Status.IN_PROGRESS, 10, started_at=start))
    bench.poll()
    bench.planner.outage_began(start + 15.0)
    bench.now = start + 3600.0
    bench.planner.outage_over(bench.now)
    for _ in range(300):
        learning.on_began(start + 20.0, bench.now)
    assert learning.load(bench.now) == 1.0
    bench.saw(record(9, Status.SUCCESS, 100, started_at=start, finished_at=start + 20.0))
    assert price.value == before
    assert price.mean_delay < 2.0


def test_an_end_in_a_gap_that_nobody_dates_teaches_nothing() -> None:
    """It may have been at any time of an hour: half an hour is what durations would learn."""
    bench = Bench()
    bench.watch(9, policy=Adaptive())
    bench.poll()
    bench.saw(record(9, Status.IN_PROGRESS, 10))
    bench.poll()
    bench.now += 3600.0
    bench.planner.stood_still(bench.now, 3595.0)
    bench.saw(record(9, Status.FAILURE, None))
    assert bench.planner.learning.dump()["kinds"] == []


def others(*ran: float, status: Status = Status.SUCCESS, ago: float | None = 60.0) -> list[Found]:
    """Return tasks of others as a page shows them, which ran for so many seconds, and ended so many ago."""
    records = [
        record(number, status, 100, started_at=1000.0 - seconds, finished_at=1000.0)
        for number, seconds in enumerate(ran, 50)
    ]
    return [Found(task, ended_ago=ago) for task in records]


def test_tasks_of_others_tell_how_long_they_run() -> None:
    """One page does: those that ended and those that still run; records that tell nothing are left out."""
    learning, alone = Bench().planner.learning, Bench().planner.learning
    assert learning.wants_page
    learning.on_told([], 0.0)
    assert learning.wants_page
    odd = record(1, Status.SUCCESS, 100, finished_at=1000.0)
    running = record(3, Status.IN_PROGRESS, 50, started_at=900.0)
    rest = [Found(odd), Found(record(2, Status.NOT_START, None)), *[Found(running, age=100.0)] * 30, Found(running)]
    learning.on_told([*others(-5.0, 1e6), *others(*[40.0] * 10), *rest], 0.0)
    assert learning.is_taught
    assert not learning.wants_page
    alone.on_told(others(*[40.0] * 10), 0.0)
    there, without = (one.life.durations.hazard("FAST", 40.0, "IMAGINE") for one in (learning, alone))
    assert there is not None
    assert without is not None
    assert there < 0.5 * without
    assert not learning.life.most_fail


def test_where_most_of_others_failed_of_late_tasks_are_polled_sooner() -> None:
    """A few that failed are as ever, and so are those that failed days ago, or nobody knows when."""
    for ago, most_fail in ((60.0, True), (80_000.0, False), (None, False)):
        learning = Bench().planner.learning
        learning.on_told([*others(*[40.0] * 4, ago=ago), *others(*[3.0] * 10, status=Status.FAILURE, ago=ago)], 0.0)
        assert learning.life.most_fail is most_fail
    learning = Bench().planner.learning
    learning.on_told([*others(*[40.0] * 10), *others(*[3.0] * 4, status=Status.FAILURE)], 0.0)
    assert not learning.life.most_fail


def test_a_task_that_was_made_here_is_no_older_than_that() -> None:
    """Where a time zone is off by an hour its age is that since it was made."""
    bench = Bench()
    bench.planner.first_polls.created(9, bench.now, pool="FAST", kind="IMAGINE")
    heard: list[Facts] = []

    def policy(facts: Facts, _roll: float) -> float:
        heard.append(facts)
        return 4.0

    bench.watch(9, policy=policy)
    bench.now = bench.due
    bench.poll()
    bench.saw(record(9, Status.IN_PROGRESS, 10, started_at=1.0), age=3604.0)
    assert [facts.age for facts in heard] == [0.0, 4.0]


def test_ages_by_a_date_that_is_behind() -> None:
    """By how much it is was learned in an earlier run: from the first answer on ages are known."""
    bench, later = Bench(), Bench()
    for task_id in range(1, 8):
        lives(bench, task_id)
    learning = bench.planner.learning
    for _ in range(60):
        learning.age(Found(record(9, Status.IN_PROGRESS, 10, started_at=bench.now - 10.0), age=-65.0), bench.now)
    later.planner.learning.restore(json.loads(json.dumps(learning.dump())))
    task = record(9, Status.IN_PROGRESS, 10, started_at=0.0)
    assert later.planner.learning.age(Found(task, age=-70.0), 5.0) == pytest.approx(5.0, abs=0.5)
    # Where nobody knows by how much, a clock that is far behind tells nothing; one that is a little behind, 0.
    assert Bench().planner.learning.age(Found(task, age=-70.0), 5.0) is None
    assert Bench().planner.learning.age(Found(task, age=-2.0), 5.0) == 0.0


def test_what_callbacks_brought_moves_no_price() -> None:
    """Such ends are seen at once whatever a poll costs: polls would be seldom on the day that callbacks stop."""
    bench = Bench()
    learning = bench.planner.learning
    lives(bench, 1, policy=Adaptive())
    lives(bench, 2, policy=Adaptive())
    price = learning.last_price
    assert price is not None
    before = price.value
    for task_id in range(3, 20):
        bench.watch(task_id, policy=Adaptive())
        bench.poll()
        bench.saw(record(task_id, Status.IN_PROGRESS, 10))
        bench.planner.hear(Callback(task_id, goes_on=True, progress=20), bench.now, 0.0)
        bench.now += 20.0
        bench.planner.hear(Callback(task_id), bench.now, 0.0)
        bench.poll()
        bench.saw(record(task_id, Status.FAILURE, None))
    assert price.value == before


@pytest.mark.parametrize("beside", [Fixed(0.5), Adaptive(delay=0.1)])
def test_who_waits_closely_moves_no_price_of_others(beside: Any) -> None:
    """Where another wait has an ID polled often, ends are seen soon: that says nothing of a price that decided not."""
    bench = Bench()
    learning = bench.planner.learning
    for task_id in range(1, 20):
        bench.watch(task_id, policy=beside)
        lives(bench, task_id, policy=Adaptive(delay=5.0))
    assert learning.prices.under(5.0).value == FIRST * 5.0


def test_an_image_that_is_late_is_no_late_end() -> None:
    """The end is seen when the task has succeeded; what is looked for afterwards is its image."""
    bench = Bench()
    learning = bench.planner.learning
    for task_id in range(1, 5):
        start = bench.now
        bench.watch(task_id, policy=Adaptive())
        bench.poll()
        bench.saw(record(task_id, Status.IN_PROGRESS, 10))
        bench.poll()
        bench.now = start + 3.0
        done = record(task_id, Status.SUCCESS, 100, finished_at=start + 2.0)
        bench.saw(attrs.evolve(done, image_url=None))
        bench.now += 12.0
        bench.saw(done)
    assert learning.last_price is not None
    assert learning.last_price.mean_delay < 3.0


def test_the_time_of_answers_is_measured() -> None:
    """How long answers take is known after some, of polls that were answered only."""
    learning = Bench().planner.learning
    for task_id in range(200):
        learning.on_asked(task_id, 10.0)
        learning.on_answered(task_id, 13.0)
        learning.on_answered(task_id, 99.0)
    assert learning.answer_time == pytest.approx(3.0, rel=0.01)
    # A machine that slept between the two is no slow service.
    learning.on_asked(1, 10.0)
    learning.on_answered(1, 90_000.0)
    assert learning.answer_time < 3.5


def test_what_was_learned_is_taken_over_or_left_out_whole() -> None:
    """A dump as JSON is taken over elsewhere with its prices; odd ones leave what is there as it is."""
    bench, other = Bench(), Bench()
    for task_id in range(1, 20):
        lives(bench, task_id, policy=Adaptive(delay=2.0))
    dumped = json.loads(json.dumps(bench.planner.learning.dump()))
    learning = other.planner.learning
    learning.restore(dumped)
    assert learning.dump() == dumped
    assert learning.prices.under(2.0).value == bench.planner.learning.prices.under(2.0).value
    kind = dumped["kinds"][0]
    odd: list[Any] = [
        None,
        [],
        {},
        {**dumped, "kinds": 3},
        {**dumped, "surprises": [1.0]},
        {**dumped, "surprises": [9.0, 1.0, 1.0]},
        {**dumped, "kinds": [{**kind, "stays": {"99": []}}]},
        {**dumped, "kinds": [{**kind, "ends": "many"}]},
        {**dumped, "kinds": [{**kind, "steps": {"12": [1.0]}}]},
        {**dumped, "kinds": [{**kind, "steps": {"no": [1.0] * 6}}]},
        {**dumped, "kinds": [{**kind, "steps": []}]},
        {**dumped, "kinds": [{**kind, "silences": {"LOUD": [[1.0, 2.0]]}}]},
        {**dumped, "kinds": [{**kind, "silences": {"STILL": [[1.0, None]]}}]},
        {**dumped, "kinds": [{**kind, "durations": [[1.0], [2.0], [3.0]]}]},
        {**dumped, "prices": [[1.0, None]]},
        {**dumped, "prices": [[-1.0, None, 1.0]]},
        {**dumped, "prices": [[1.0, None, "dear"]]},
        {**dumped, "prices": [[1.0, None, 1e300]]},
        {**dumped, "prices": [[1.0, None, 0.0]]},
        {**dumped, "prices": [[1.0, None, math.nan]]},
        {**dumped, "answer_time": None},
        {**dumped, "answer_time": math.nan},
        {**dumped, "date": [math.nan, 0.0]},
        {**dumped, "date": [-1e6, 0.0]},
        {**dumped, "date": [0.0, -1.0]},
        {**dumped, "date": ["much", 0.0]},
        {**dumped, "date": 0.0},
    ]
    for wrong in odd:
        with pytest.raises(ValueError, match="not learned here"):
            learning.restore(wrong)
        assert learning.dump() == dumped


def test_several_waits_of_one_id_move_each_price_once() -> None:
    """An end moves the price of each bound that its waits go by, and none of a policy without one."""
    bench = Bench()
    for policy in (Adaptive(), Adaptive(), Adaptive(delay=4.0), Fixed(3.0)):
        bench.planner.watch(Subscription(Sink(), (1,), policy, bench.now, None, None), bench.now, 0.5)
    lives(bench, 1, policy=Fixed(5.0))
    prices = bench.planner.learning.prices
    assert set(prices.measured()) == {(1.0, None), (4.0, None)}
