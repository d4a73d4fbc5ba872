"""What is left of tasks: learned from whole lives, by pool and kind, of bounded size, and kept between runs."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable

import pytest

from omgmj.backoff.hazard import Slots
from omgmj.backoff.residual_life import ENOUGH, MOST_KINDS, Key, Lived, ResidualLife, State
from omgmj.backoff.silences import Silence
from omgmj.backoff.steps import Sight

KEY = "FAST", "IMAGINE"


def life(end: float, *, at: Callable[[float], float] = lambda share: share, every: float = 1.0) -> Lived:
    """Return a task that ends at `end`; it shows each tenth when `at` has it, as a share of its life.

    It is looked at each so many seconds.
    """
    states = [State(Silence.QUEUED, 0.0, math.nan, 0.0)]
    for percent in range(10, 100, 10):
        seen = every * math.ceil(at(percent / 100) * end / every)
        if states[-1].at < seen < end:
            states.append(State(percent, seen, seen - every, seen))
    found = every * math.ceil(end / every)
    return Lived(states, 0.0, found - every, found, end)


def learned(*lives: Lived, key: Key = KEY) -> ResidualLife:
    """Return what was learned of such tasks."""
    known = ResidualLife()
    for one in lives:
        known.learn(key, one)
        known.durations.saw_end(key[0], 0.0, one.found_at, ended=one.ended_at, kind=key[1])
    return known


def test_nothing_is_said_before_a_few_have_ended() -> None:
    """Of a kind that was not seen, of a step that was seldom seen, of silence: nothing."""
    for known in (ResidualLife(), learned(*[life(40.0)] * 2)):
        assert known.after_step(KEY, Sight(50, 20.0, 1.0), 0.0, 0.5) is None
        for silence in Silence:
            assert known.in_silence(KEY, silence, 5.0, 5.0, 0.5) is None


@pytest.mark.parametrize(
    ("at", "left"), [(lambda share: share, 20.0), (lambda share: share**3, 35.0), (lambda share: share ** (1 / 3), 8.3)]
)
def test_a_look_comes_where_tasks_with_such_progress_end(at: Callable[[float], float], left: float) -> None:
    """Straight or bent, what is left after half of the progress is learned, and looked for in time."""
    known = learned(*[life(35.0 + number % 11, at=at) for number in range(60)])
    age = at(0.5) * 40.0
    seconds = known.after_step(KEY, Sight(50, age, 1.0), 0.0, 0.5)
    assert seconds is not None
    assert 0.7 * left < seconds < 1.3 * left


def test_a_step_that_was_never_seen_is_on_the_line() -> None:
    """Once enough of the kind have ended a step that none of them showed is taken as the straight line has it."""
    known = learned(*[life(40.0)] * ENOUGH)
    seconds = known.after_step(KEY, Sight(55, 22.0, 0.1), 0.0, 0.5)
    assert seconds is not None
    assert 10.0 < seconds < 25.0


def test_a_state_without_progress_is_learned() -> None:
    """Who queues is looked at before those that queued as long have ended; who shows 0 percent likewise."""

    def slow(end: float) -> Lived:
        queued, still = State(Silence.QUEUED, 0.0, math.nan, 0.0), State(Silence.STILL, 30.0, 29.0, 0.5)
        states = [queued, still, State(50, 50.0, 49.0, 20.5)]
        return Lived(states, 0.0, end - 0.5, end, end - 0.2)

    known = learned(*[slow(70.0 + number) for number in range(20)])
    queue = known.in_silence(KEY, Silence.QUEUED, 10.0, 10.0, 0.5)
    still = known.in_silence(KEY, Silence.STILL, 35.0, 5.0, 0.5)
    assert queue is not None
    assert still is not None
    assert 50.0 < queue < 72.0
    assert 25.0 < still < 45.0


def test_where_all_stand_still_to_their_end_durations_tell() -> None:
    """Tasks that show nothing until they end are looked for by how long such tasks run."""
    still = [State(Silence.STILL, 1.0, math.nan, 1.0)]
    ends = [40.0 + number % 5 for number in range(60)]
    known = learned(*[Lived(still, 0.0, end - 1.0, end + 1.0, end) for end in ends])
    early, there = (known.in_silence(KEY, Silence.STILL, age, age, 0.5) for age in (5.0, 41.0))
    assert early is not None
    assert there is not None
    assert early > 15.0
    assert there < 3.0
    assert known.in_silence(KEY, Silence.QUEUED, 5.0, 5.0, 0.5) is None


def test_before_a_state_is_known_it_is_as_tasks_that_were_made() -> None:
    """A task that was made here and tells nothing goes by how long others of its kind took since they were made."""
    known = ResidualLife()
    for _ in range(3):
        known.learn(KEY, Lived([], 100.0, 100.0, 103.0, 102.0, KEY))
    for silence in (Silence.QUEUED, Silence.STILL):
        seconds = known.in_silence(KEY, silence, 1.8, 1.0, 0.2)
        assert seconds is not None
        assert 0.1 < seconds < 0.6


def test_a_task_that_was_just_made_is_known_by_what_it_was_made_as() -> None:
    """The first look comes where tasks of the kind that a submission told have ended."""
    known = ResidualLife()
    for _ in range(8):
        known.learn(KEY, Lived([], 100.0, 100.0, 103.0, 102.0, ("FAST", "upsample")))
    seconds = known.in_silence(("FAST", "upsample"), Silence.MADE, 0.0, 0.0, 0.5)
    assert seconds is not None
    assert 1.5 < seconds < 3.0
    assert known.in_silence(("FAST", "reroll"), Silence.MADE, 0.0, 0.0, 0.5) is None


def test_pools_and_kinds_are_apart_and_bounded() -> None:
    """Each kind in each pool is learned by itself; invented ones share one place."""
    known = learned(*[life(40.0)] * 30)
    for _ in range(30):
        known.learn(("RELAX", "IMAGINE"), life(400.0))
    fast, relax = (known.after_step((pool, "IMAGINE"), Sight(50, 20.0, 1.0), 0.0, 0.5) for pool in ("FAST", "RELAX"))
    assert fast is not None
    assert relax is not None
    for number in range(3 * MOST_KINDS):
        known.learn((f"invented {number}", None), life(40.0))
    assert len(known.dump()["kinds"]) == MOST_KINDS


def test_how_late_an_end_was_seen() -> None:
    """By the end that the record tells, within the looks; where it tells none, by what was to be expected."""
    known = ResidualLife()
    assert known.learn(KEY, life(39.5)) == pytest.approx(0.5)
    assert known.learn(KEY, life(39.5)._replace(ended_at=90.0)) == 0.0
    assert known.learn(KEY, life(39.5)._replace(ended_at=1.0)) == pytest.approx(1.0)
    assert known.learn(KEY, life(39.5)._replace(ended_at=math.nan)) == pytest.approx(0.5)
    for _ in range(30):
        known.learn(KEY, life(39.5))
    untold = life(39.5, every=13.0)._replace(ended_at=math.nan)
    late = known.learn(KEY, untold)
    assert late is not None
    assert 0.0 < late < 0.5 * (untold.found_at - untold.seen_at) + 1.0
    # Where no end was to be expected between the two looks it is the middle.
    odd = Lived([State(10, 4.0, 3.0, 4.0)], 0.0, 4.0, 6.0, math.nan)
    assert known.learn(KEY, odd) == pytest.approx(1.0)


def test_who_was_never_seen_to_run_teaches_nothing() -> None:
    """An ID that was found ended by its first look, with no end told, says nothing of how long such tasks take."""
    known = ResidualLife()
    assert known.learn(KEY, Lived([], 5.0, math.nan, 6.0, math.nan)) is None
    assert known.dump()["kinds"] == []


def test_a_storm_of_failures_brings_looks_forward() -> None:
    """Where task after task ends long before its time, each look comes much sooner, and later as ever."""
    known = learned(*[life(40.0)] * 60)
    sight = Sight(10, 4.0, 1.0)

    def look() -> float:
        seconds = known.after_step(KEY, sight, 0.0, 0.5)
        assert seconds is not None
        return seconds

    before = look()
    for number in range(5):
        known.learn(KEY, Lived([State(Silence.QUEUED, 0.0, math.nan, 0.0)], 0.0, 1.0, 4.0, 2.0 + number / 3))
    assert look() < 0.3 * before
    for _ in range(60):
        known.learn(KEY, life(40.0))
    assert look() > 0.8 * before
    # A step that was never seen says nothing of surprises until enough of its kind have ended.
    fresh = ResidualLife()
    for _ in range(ENOUGH + 2):
        fresh.learn(KEY, Lived([State(50, 20.0, 19.0, 20.0)], 0.0, 20.2, 20.4, 20.3))
    assert fresh.dump()["kinds"][0]["ends"] == ENOUGH + 2


def size(what: object, seen: set[int]) -> int:
    """Return the bytes of an object of ours and all that it holds."""
    if id(what) in seen or isinstance(what, Slots):
        return 0
    seen.add(id(what))
    parts = [getattr(what, name) for name in getattr(type(what), "__slots__", ())]
    parts += what.values() if isinstance(what, dict) else ()
    return sys.getsizeof(what) + sum(size(part, seen) for part in parts)


def test_a_kind_takes_less_than_16_kilobytes() -> None:
    """All steps, all silences and durations of one pool and kind, full, are below 16 kB."""
    known = learned(*[life(30.0 + number % 40, every=0.3 + number % 7) for number in range(300)])
    for number in range(2500):
        percent = 1 + number % 100
        known.learn(KEY, Lived([State(percent, 9.0, 8.5, 9.0)], 0.0, 10.0, 11.0, 10.5))
    for _ in range(60):
        known.learn(KEY, Lived([State(Silence.STILL, 1.0, 0.5, 1.0)], 0.0, 2.0, 3.0, 2.5, KEY))
    (kind,) = known._kinds.values()
    (place,) = known.durations._places.values()
    assert 8_000 < size(kind, set()) + size(place, set()) < 16_000


def test_where_some_hang_at_a_step_looks_come_where_they_end() -> None:
    """Two in three end soon after a step, the others hang for a minute: it is looked for both, and not in between."""
    known = ResidualLife()
    for number in range(120):
        left = 2.0 + number % 5 / 2 if number % 3 else 55.0 + number % 11
        known.learn(KEY, Lived([State(99, 40.0, 39.0, 40.0)], 0.0, 40.0 + left - 0.5, 40.0 + left + 0.5, 40.0 + left))
    sight = Sight(99, 40.0, 1.0)
    first, hanging, near = (known.after_step(KEY, sight, since, 0.1) for since in (0.0, 9.0, 57.0))
    assert first is not None
    assert hanging is not None
    assert near is not None
    assert first < 4.0
    assert hanging > 10.0
    assert near < 4.0


def test_an_end_within_an_answers_time_is_no_surprise() -> None:
    """Where answers are slow a step and the end right after it come in one answer's time: that is no storm."""
    prompt, slow = (learned(*[life(40.0)] * 60) for _ in range(2))
    for _ in range(6):
        ended = Lived([State(50, 20.0, 19.0, 20.0)], 0.0, 20.0, 21.0, 20.5)
        prompt.learn(KEY, ended)
        slow.learn(KEY, ended._replace(answers=30.0))
    assert prompt.in_storm(KEY, 9.0, 0.1) < 10.0
    assert slow.in_storm(KEY, 9.0, 0.1) > 100.0


def test_what_others_tell_is_no_end_of_a_kind() -> None:
    """How long tasks ran that nobody watched says how long such tasks run; of steps, and of longer ones, nothing."""
    known = ResidualLife()
    for _ in range(20):
        known.learn_told(KEY, 40.0)
    assert known.in_silence(KEY, Silence.STILL, 35.0, 35.0, 0.1) is not None
    assert known.in_silence(KEY, Silence.STILL, 45.0, 45.0, 0.1) is None
    assert known.after_step(KEY, Sight(50, 20.0, 1.0), 0.0, 0.5) is None
    assert not known.is_known(KEY)


def test_where_most_of_others_failed_looks_come_where_they_did() -> None:
    """Until enough of the kind have ended here, and not long after the age at which they failed."""
    known = ResidualLife()
    for _ in range(20):
        known.learn_told(KEY, 3.0)
    assert known.in_storm(KEY, 2.0, 0.1) > 100.0
    known.most_fail = True
    assert known.in_storm(KEY, 2.0, 0.1) < 3.0 < known.in_storm(KEY, 300.0, 0.1)
    assert known.in_storm(("FAST", "UPSCALE"), 2.0, 0.1) > 100.0
    for _ in range(ENOUGH):
        known.learn(KEY, life(40.0))
    assert known.in_storm(KEY, 2.0, 0.1) > 100.0


def test_a_storm_goes_on_in_the_next_run() -> None:
    """The surprises of late are taken over."""
    known = learned(*[life(40.0)] * 60)
    for number in range(5):
        known.learn(KEY, Lived([State(Silence.QUEUED, 0.0, math.nan, 0.0)], 0.0, 1.0, 4.0, 2.0 + number / 3))
    other = ResidualLife()
    other.restore(json.loads(json.dumps(known.dump())))
    assert other.in_storm(KEY, 2.0, 0.1) == known.in_storm(KEY, 2.0, 0.1) < 10.0


def test_what_was_learned_can_be_taken_over() -> None:
    """A dump as JSON, taken over elsewhere, plans the same looks."""
    known = learned(*[life(35.0 + number % 11) for number in range(60)])
    known.learn(("RELAX", None), life(50.0))
    other = ResidualLife()
    other.restore(json.loads(json.dumps(known.dump(), allow_nan=False)))
    assert other.dump() == known.dump()
    sight = Sight(50, 20.0, 1.0)
    assert other.after_step(KEY, sight, 0.0, 0.5) == pytest.approx(known.after_step(KEY, sight, 0.0, 0.5), rel=0.05)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"ends": "some"}, ValueError),
        ({"ends": None}, TypeError),
        ({"kind": ["IMAGINE"]}, TypeError),
        ({"steps": {"9000": [10.0, 1.0, 1.0, 1.0, 1.0, 1.0]}}, ValueError),
        ({"stays": {"9000": [[1.0], [1.0], [1.0]]}}, ValueError),
        ({"silences": {"LOUD": [[1.0, 2.0]]}}, KeyError),
        ({"durations": [[1.0]]}, ValueError),
    ],
)
def test_what_was_never_given_is_refused(change: dict[str, object], error: type[Exception]) -> None:
    """A dump with a part that none has is not taken over, nor is one that lacks a part."""
    dumped = learned(*[life(40.0)] * 30).dump()
    (kind,) = dumped["kinds"]
    with pytest.raises(error):
        ResidualLife().restore({**dumped, "kinds": [{**kind, **change}]})
    for part in kind:
        lacking = {name: value for name, value in kind.items() if name != part}
        with pytest.raises(KeyError):
            ResidualLife().restore({**dumped, "kinds": [lacking]})
    with pytest.raises(KeyError):
        ResidualLife().restore({"kinds": dumped["kinds"]})


def test_ends_after_steps_that_none_has_shown_are_surprises() -> None:
    """Where enough of a kind are known, an end soon after a step far from the end is one, also of a new step."""
    known = learned(*[life(40.0)] * 30)
    sight = Sight(10, 4.0, 1.0)
    before = known.after_step(KEY, sight, 0.0, 0.5)
    for percent in (4, 12, 16, 24, 32, 36):
        age = percent * 0.4
        known.learn(KEY, Lived([State(percent, age, age - 0.1, age)], 0.0, age + 0.1, age + 0.3, age + 0.2))
    after = known.after_step(KEY, sight, 0.0, 0.5)
    assert before is not None
    assert after is not None
    assert after < 0.3 * before


def test_kinds_beyond_the_bound_are_polled_by_what_they_share() -> None:
    """What kinds without a place of their own taught is told of them; who has a place learns nothing from them."""
    known = ResidualLife()
    for number in range(MOST_KINDS + 8):
        end = 40.0 if number < MOST_KINDS - 1 else 80.0
        for _ in range(ENOUGH):
            known.learn(("FAST", f"kind {number}"), life(end))
    sight = Sight(50, 20.0, 1.0)
    own, shared, new = (
        known.after_step(("FAST", f"kind {number}"), sight, 0.0, 0.5)
        for number in (MOST_KINDS - 2, MOST_KINDS + 7, 10 * MOST_KINDS)
    )
    assert own is not None
    assert shared is not None
    assert own == pytest.approx(known.after_step(("FAST", "kind 0"), sight, 0.0, 0.5))
    assert shared == new
    assert known.is_known(("FAST", f"kind {MOST_KINDS + 7}"))
    assert len(known.dump()["kinds"]) == MOST_KINDS
    # As long as there are places left a kind that was not seen goes by no other.
    few = learned(*[life(40.0)] * 30, key=(None, None))
    assert few.after_step(KEY, sight, 0.0, 0.5) is None
    assert not few.is_known(KEY)
