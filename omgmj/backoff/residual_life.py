"""What is left of tasks, by kind, pool and what they show: the distribution that polls are planned by.

It is learned from the ends of tasks that were watched. A task that shows progress goes by its `steps`, and where those
foretell little by how long tasks stand at one (`stays`); one that tells none by the last tasks in its state
(`silences`); where most end in that very state, by how long tasks run at all (`durations`). `surprises` are a hazard
beside all of these. When to look, `inspection` says, for one price.

The planner writes, policies read. Its size is bounded, and it reads no clock: moments are seconds on the planner's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from omgmj.backoff.durations import Durations
from omgmj.backoff.inspection import LONGEST, Left, constant, seen_late, wait
from omgmj.backoff.silences import Silence, Silences
from omgmj.backoff.stays import Stays
from omgmj.backoff.steps import Sight, Steps
from omgmj.backoff.surprises import Surprises

MOST_KINDS = 32
"""Kinds of tasks, each in its pool, that are told apart; further ones share one place."""
ENOUGH = 8
"""Ends of a kind after which a step that was never seen is taken to be as the straight line says."""
_WIDE = 0.8  # spread from which what is left is asked of `stays`
_SURPRISING = 0.01  # an end by which so few were foretold to have ended came as a surprise
_YOUNG = 5.0  # seconds: the hazard of what nothing is known of is that of who lives as long again

Key = tuple[str | None, str | None]
"""Pool and kind; those of a task that was just made are as its submission says, and may differ from its record's."""


class State(NamedTuple):
    """A state in which a task was seen: what it shows, since when, and when the look before was.

    `place` is its progress in percent, above 0, or what it is silent as. `before` is not a number for the first look.
    `age` is in seconds since the task's start, as it was known then, else since it was first known.
    """

    place: int
    at: float
    before: float
    age: float

    @property
    def sight(self) -> Sight:
        """How a step was first seen."""
        place, at, before, age = self
        return Sight(place, age, min(age, at - before) if before == before else age)  # noqa: PLR0124 - it may be no number


class Lived(NamedTuple):
    """A task that has ended: how it was seen. Moments on the planner's clock.

    `known_at` is when it was first known, `seen_at` the last look before the end, `found_at` the one that found it.
    `ended_at` is the end, not a number where nobody says. `made_as` are pool and kind as its submission told them, None
    where it was not made here. An answer takes `answers` seconds on average.
    """

    states: Sequence[State]
    known_at: float
    seen_at: float
    found_at: float
    ended_at: float
    made_as: Key | None = None
    answers: float = 0.0

    def began(self, state: State) -> float:
        """Return the moment from which the ages of a state without progress count."""
        return state.at - state.age if state.place == Silence.STILL else self.known_at


class _Kind:
    """What was learned of one kind of task."""

    __slots__ = ("ends", "silences", "stays", "steps")

    def __init__(self) -> None:
        self.ends = 0
        self.steps = Steps()
        self.silences = Silences()
        self.stays = Stays()

    def left(self, sight: Sight) -> Left | None:
        """Return what is left as a step is seen: as learned, else as on the straight line; None: too little known."""
        return self.steps.left(sight) or (self.steps.straight(sight) if self.ends >= ENOUGH else None)


class ResidualLife:
    """What is left of tasks, as the ends seen so far have it. `durations` is how long they run.

    `most_fail`: of others' tasks that ended of late most failed.
    """

    __slots__ = ("_kinds", "_longest_told", "_surprises", "durations", "most_fail")

    def __init__(self) -> None:
        self.durations: Durations = Durations()
        self._kinds: dict[Key, _Kind] = {}
        self._surprises = Surprises()
        self._longest_told = 0.0  # seconds that any task ran of those that nobody watched
        self.most_fail: bool = False

    def after_step(self, key: Key, sight: Sight, since: float, price: float) -> float | None:
        """Return the seconds to the next look, `since` seconds after a step was first seen; None: too little known.

        `key` is the task's pool and kind, `price` that of a look in seconds of delay.
        """
        kind = self._find(key)
        if kind is None:
            return None
        left = kind.left(sight)
        if left is None:
            return None
        surprises = self._surprises.hazard
        found = kind.stays.wait(sight.progress, since, price, surprises) if left.spread > _WIDE else None
        return wait(left, since, price, self._hazard(key, sight.age + since), surprises) if found is None else found

    def in_silence(self, key: Key, silence: Silence, waited: float, age: float, price: float) -> float | None:
        """Return the seconds to the next look at a task that tells no progress; None where too little is known.

        `age` is in seconds since it started, `waited` since it was first known; `key` as in `after_step`.
        """
        kind = self._find(key)
        surprises = self._surprises.hazard
        at = age if silence is Silence.STILL else waited
        if kind is not None:
            hazard = self._hazard(key, at) if silence is Silence.STILL else 1 / (at + _YOUNG)
            found = kind.silences.wait(silence, at, price, hazard, surprises)
            if found is not None:
                return found
        # What others tell says nothing of one that has run for longer than any of them; or of a clock that is off.
        is_told = self.is_known(key) or age <= self._longest_told
        found = None
        if silence is Silence.STILL and is_told:
            found = self.durations.wait(key[0], age, price, surprises, key[1])
        if found is not None or kind is None or silence is Silence.MADE:
            return found
        # Before enough is known of its state it is as those that were made of its kind.
        return kind.silences.wait(Silence.MADE, waited, price, 1 / (waited + _YOUNG), surprises)

    def in_storm(self, key: Key, age: float, price: float) -> float:
        """Return the seconds to the next look at most, whatever is foretold, as tasks end before their time.

        Where most of others' tasks failed (`most_fail`) it comes where those ended. `key` and `price` as in
        `after_step`.
        """
        hazard = self._surprises.hazard
        surprised = constant(price, hazard) if hazard else LONGEST
        told = self.durations.wait(key[0], age, price, kind=key[1]) if self.most_fail else None
        return surprised if told is None else min(surprised, told)

    def is_known(self, key: Key) -> bool:
        """Whether enough of a kind have ended for its polls to go by what was learned."""
        kind = self._find(key)
        return kind is not None and kind.ends >= ENOUGH

    def learn(self, key: Key, lived: Lived) -> float | None:
        """Record a task that has ended; return how late its end was seen. None: nobody saw it go on."""
        if math.isnan(lived.seen_at):
            return None
        ended_at = lived.ended_at
        if math.isnan(ended_at):
            ended_at = (lived.seen_at + lived.found_at) / 2
        ended_at = min(lived.found_at, max(lived.seen_at, ended_at))
        kind = self._open(key)
        late = lived.found_at - ended_at
        surprised = False
        if lived.states:
            last = lived.states[-1]
            surprised = self._is_surprise(kind, lived, last, ended_at)
            if math.isnan(lived.ended_at) and last.place > 0:
                late = self._late(kind, lived, last, late)
        self._surprises.saw(ended_at - lived.known_at, surprised=surprised)
        kind.ends += 1
        self.most_fail = self.most_fail and kind.ends < ENOUGH
        steps, stays, gone = kind.steps, kind.stays, ended_at
        is_last = True
        for state in reversed(lived.states):  # It has gone from each one to the one after.
            place, at, before, _ = state
            if place > 0:
                steps.learn(state.sight, ended_at - at)
                stays.learn(place, gone - at, ended=is_last)
            else:
                start = lived.began(state)
                kind.silences.learn(Silence(place), gone - start, ended_at - start)
            gone, is_last = at if math.isnan(before) else (at + before) / 2, False
        if lived.made_as is not None:
            for made in dict.fromkeys((key, lived.made_as)):
                self._open(made).silences.learn(Silence.MADE, ended_at - lived.known_at, ended_at - lived.known_at)
        return late

    def learn_told(self, key: Key, ran: float) -> None:
        """Record a task that nobody watched, as its record tells: for how many seconds it ran."""
        self.durations.saw_end(key[0], 0.0, ran, ended=ran, kind=key[1])
        self._longest_told = max(self._longest_told, ran)

    def dump(self) -> dict[str, Any]:
        """Return what was learned as JSON takes it: kind by kind, and the surprises of late."""
        kinds = [
            {
                "pool": key[0],
                "kind": key[1],
                "ends": kind.ends,
                "steps": kind.steps.dump(),
                "stays": kind.stays.dump(),
                "silences": kind.silences.dump(),
                "durations": self.durations.dump(*key),
            }
            for key, kind in self._kinds.items()
        ]
        return {"kinds": kinds, "surprises": self._surprises.dump()}

    def restore(self, dumped: dict[str, Any], ago: float = 0.0) -> None:
        """Take over what `dump` gave so many seconds `ago`.

        An `Exception` of Python's own where it cannot have given that.
        """
        for one in dumped["kinds"]:
            key = one["pool"], one["kind"]
            kind = self._open(key)
            kind.ends = int(one["ends"])
            kind.steps.restore(one["steps"])
            kind.stays.restore(one["stays"])
            kind.silences.restore(one["silences"])
            if one["durations"] is not None:
                self.durations.restore(*key, one["durations"])
        self._surprises.restore(dumped["surprises"], ago)

    def _is_surprise(self, kind: _Kind, lived: Lived, last: State, ended_at: float) -> bool:
        if last.place > 0:
            left = kind.left(last.sight)
            return left is not None and left.over(ended_at - last.at + lived.answers)[1] < _SURPRISING
        start = lived.began(last)
        early = kind.silences.early(Silence(last.place), lived.seen_at - start)
        return early is not None and ended_at - start + lived.answers < early

    def _late(self, kind: _Kind, lived: Lived, last: State, middle: float) -> float:
        """Return how late an end is seen that nobody tells: by what was to be expected between the two looks.

        Where nothing was, it is in the `middle` of them.
        """
        left = kind.steps.left(last.sight)
        late = None if left is None else seen_late(left, lived.seen_at - last.at, lived.found_at - last.at)
        return middle if late is None else late

    def _hazard(self, key: Key, age: float) -> float:
        return self.durations.hazard(key[0], age, key[1]) or 1 / (age + _YOUNG)

    def _place(self, key: Key) -> Key:
        """Return the place of a kind: its own, or the one that is shared where all others are taken."""
        return key if key in self._kinds or len(self._kinds) < MOST_KINDS - 1 else (None, None)

    def _find(self, key: Key) -> _Kind | None:
        return self._kinds.get(self._place(key))

    def _open(self, key: Key) -> _Kind:
        place = self._place(key)
        kind = self._kinds.get(place)
        if kind is None:
            kind = self._kinds[place] = _Kind()
        return kind
