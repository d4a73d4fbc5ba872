"""Verdicts: whose trouble a failed poll is. It is judged by contrast; the kind of the answer is only a hint.

Three may be at fault: the service or the way to it, the account (or whatever else holds for all IDs and for good), and
this one ID. A gateway that is out of order speaks in any words, also in those that mean one ID elsewhere. So a word
about an ID counts against it only beside something that goes well:

- others: a poll of another ID succeeded since this one failed last, or its success is the last thing heard of others;
- the list: a page was answered lately, and it matters (the ID is alone, or no watched ID was seen in this session);
- nobody: the ID is the only one that is watched, so that there is nobody to ask.

The rows of `RULES` say how often and how long it is heard beside each, until the ID is given up. Where polls fail and
pass at random, what may be chance is not believed of one ID. What no contrast speaks for is the service's trouble: it
counts for the circuit breaker, and against no ID. What ends all waits stands in `FOR_ALL`: heard from several IDs,
or several times from the only one, with no success in between.

Times are seconds on the planner's clock. Beside others they are service time, which an outage in between stops.
"""

from __future__ import annotations

import math
from enum import Enum, auto
from typing import NamedTuple

from omgmj.errors import DecodeError, OmgmjError
from omgmj.protocol.failures import Meaning


class Patience(NamedTuple):
    """Patience with what is heard: so many times, over so many seconds."""

    polls: int
    seconds: float

    @property
    def spacing(self) -> float:
        """Seconds between two such polls, so that the last one decides."""
        return self.seconds / (self.polls - 1)


class Beside(Enum):
    """The contrast that a failed poll stands beside."""

    OTHERS = auto()
    LIST = auto()
    NOBODY = auto()


class Rule(NamedTuple):
    """When an ID is given up: these words in a row, of an ID that was seen before or not, beside this contrast.

    No `words`: failures of any kind in a row. `seen` None: seen or not.
    """

    words: frozenset[Meaning]
    seen: bool | None
    beside: Beside
    patience: Patience


UNSEEN = Patience(3, 10.0)
"""An ID that was never seen. Right after it was made it may not be known yet."""
VAGUE = Patience(4, 60.0)
"""Such an ID, alone, with words that do not say that there is no such task."""
SEEN = Patience(8, 360.0)
"""An ID that was seen before: it cannot be "not there yet"."""
WHATEVER = Patience(8, 600.0)
"""The ID fails in one way or another."""

WORDS = frozenset({Meaning.UNKNOWN, Meaning.REFUSED, Meaning.GARBLED, Meaning.ACCOUNT})
RULES: tuple[Rule, ...] = (
    Rule(WORDS, False, Beside.OTHERS, UNSEEN),  # noqa: FBT003 (a table)
    Rule(frozenset({Meaning.UNKNOWN}), False, Beside.LIST, UNSEEN),  # noqa: FBT003
    Rule(frozenset({Meaning.UNKNOWN}), False, Beside.NOBODY, UNSEEN),  # noqa: FBT003
    Rule(frozenset({Meaning.REFUSED, Meaning.GARBLED}), False, Beside.NOBODY, VAGUE),  # noqa: FBT003
    Rule(WORDS, True, Beside.OTHERS, SEEN),  # noqa: FBT003
    Rule(frozenset({Meaning.UNKNOWN}), True, Beside.LIST, WHATEVER),  # noqa: FBT003
    Rule(frozenset(), None, Beside.OTHERS, WHATEVER),
    Rule(frozenset(), None, Beside.LIST, WHATEVER),
)

FOR_ALL: dict[Meaning, tuple[Patience, Patience]] = {
    Meaning.ACCOUNT: (Patience(3, 3.0), SEEN),
    Meaning.FINAL: (Patience(4, 15.0), Patience(8, 600.0)),
}
"""What ends all waits: before anything has succeeded in this session, and afterwards."""

CHANCE, OUT_OF = 1e-6, 50
"""An ID is given up beside others only where so many failures in a row are less likely than that, if each poll fails as
often as those do that pass; the share of these among the last so many successes."""
QUIET = 1e-3
"""A share of failures that pass so small is none."""
BODY_KEPT = 1024
"""Bytes of an answer that are kept of an ID's last failed poll while it is waited for."""
LATELY = 60.0
"""Seconds for which a success of others speaks for the service, while nobody else has failed since."""
PAGE_SPEAKS, PAGE_EVERY = 90.0, 60.0
"""Seconds for which an answered page of the list does; seconds after which the next one is wanted."""
ASSUMED = 300.0
"""Seconds of nothing but "no such task", at IDs that were never seen, after which no page is wanted to believe it."""


class FailedPoll(NamedTuple):
    """A poll that failed: of which ID, how, what that means by itself, and when.

    `odd`: it was refused with a 429 that concerns this ID alone.
    """

    task_id: int
    error: OmgmjError
    meaning: Meaning
    at: float
    odd: bool = False


class Crowd(NamedTuple):
    """What is watched besides an ID: `alone`, nothing; `unseen`, no watched ID was seen here, itself included.

    `others_at` is when a poll of another ID succeeded last, `any_at` when any ID's did; minus infinity for never.
    """

    alone: bool
    unseen: bool
    others_at: float
    any_at: float


class Whose(Enum):
    """Whose trouble a failed poll is."""

    SERVICE = auto()
    ID = auto()
    ALL = auto()


class Verdict(NamedTuple):
    """Whose trouble a failed poll is, and whether it is given up: the ID, or where it is everybody's, all waits.

    `spacing` is in how many seconds the same word would count again, None where it is no such word.
    """

    whose: Whose
    final: bool
    spacing: float | None = None


class Run(NamedTuple):
    """Failed polls in a row: how many, and since when."""

    polls: int
    since: float

    def exceeds(self, patience: Patience, now: float) -> bool:
        """Whether it has gone on for longer than there is patience."""
        return self.polls >= patience.polls and now - self.since >= patience.seconds


NONE = Run(0, math.inf)


class Failures:
    """Failed polls in a row at one ID: those of the last kind, and all of them, by what they stood beside."""

    __slots__ = ("_all", "_same", "at", "count", "error", "meaning")

    def __init__(self) -> None:
        self.at: float = -math.inf
        self.count: int = 0
        self.error: OmgmjError | None = None
        self.meaning: Meaning | None = None
        self._same: dict[Beside, Run] = {}
        self._all: dict[Beside, Run] = {}

    def note(self, error: OmgmjError) -> None:
        """Keep an error that says nothing of the ID, for whoever asks why it takes so long; it ends a run of words."""
        self.error, self.meaning = error, None

    def add(self, poll: FailedPoll, beside: set[Beside], served: float) -> None:
        """Add one more failed poll, at a moment of service time."""
        if poll.meaning is not self.meaning:
            self.meaning, self._same = poll.meaning, {}
        self.error, self.at = _brief(poll.error), poll.at
        self.count += 1
        for one in beside:
            for runs in (self._same, self._all) if one is not Beside.NOBODY else (self._same,):
                now = served if one is Beside.OTHERS else poll.at
                polls, since = runs.get(one, (0, now))
                runs[one] = Run(polls + 1, since)

    def exceeds(self, rule: Rule, served: float, passing: float) -> bool:
        """Whether the rule gives the ID up by now; whether it was seen is looked at before.

        `passing` is the share of polls that fail in passing: beside others, what may be chance is not believed.
        """
        if rule.words and self.meaning not in rule.words:
            return False
        run = (self._same if rule.words else self._all).get(rule.beside, NONE)
        if rule.beside is not Beside.OTHERS:
            return run.exceeds(rule.patience, self.at)
        return run.exceeds(rule.patience, served) and passing**run.polls <= CHANCE

    @property
    def against(self) -> int:
        """How often it was heard beside others."""
        return self._all.get(Beside.OTHERS, NONE).polls

    def is_forgivable(self) -> bool:
        """Whether nothing of it may be the ID's own."""
        return not self._all


def _brief(error: OmgmjError) -> OmgmjError:
    """Return what is kept of an error for each ID that fails: without the frames it came through, and its long body."""
    kept = error.about(error.task_id)
    if isinstance(kept, DecodeError):
        kept.body = kept.body[:BODY_KEPT]
    return kept


class Latest:
    """The last ID to which something happened, and the last other one, with the times."""

    __slots__ = ("at", "before", "task_id")

    def __init__(self) -> None:
        self.task_id: int = 0
        self.at: float = -math.inf
        self.before: float = -math.inf

    def note(self, task_id: int, now: float) -> None:
        """Record that it happened to an ID."""
        if self.task_id != task_id:
            self.task_id, self.before = task_id, self.at
        self.at = now

    def of_others(self, task_id: int) -> float:
        """Return when it happened last to another ID."""
        return self.before if self.task_id == task_id else self.at


class Verdicts:
    """All outcomes of one session's polls and pages, and what they come to.

    `failures` has the failed polls of each ID, for reading. `failing_since` is when polls began to fail without a
    success in between; `decides_at` is when what is heard would be believed of all, if it goes on. Both are infinite
    where nothing is so. While `is_quiet` nothing is held against anybody, and a success is no news.
    """

    def __init__(self) -> None:
        self.failures: dict[int, Failures] = {}
        self.failing_since: float = math.inf
        self.decides_at: float = math.inf
        self.is_quiet: bool = True
        self._failed = Latest()
        self._last_page = self._page_asked = -math.inf
        self._is_proven = False
        self._blamed_at = -math.inf  # when a failure was the service's last
        self._meaning: Meaning | None = None  # of the failures in a row of the session
        self._run = NONE
        self._run_ids: set[int] = set()  # two at most
        self._passed = 0.0  # failures beside others that passed, for each success

    # What went well.

    def on_success(self, task_id: int, *, listed: bool) -> None:
        """Record a record of an ID. `listed`: it stood on a page, which forgives nothing that may be the ID's own."""
        self.failing_since = math.inf
        self._meaning = None
        failures = self.failures.get(task_id)
        if not listed:
            self._passed += ((failures.against if failures is not None else 0) - self._passed) / OUT_OF
        if failures is not None and (not listed or failures.is_forgivable()):
            del self.failures[task_id]
        self.is_quiet = not self.failures and self._passed < QUIET

    def on_page(self, now: float) -> None:
        """Record that a page of the list was answered."""
        self._last_page = now
        self.on_good_call()

    def on_known_ids(self) -> None:
        """Record that IDs are waited for which were waited for before: the host was the service by then."""
        self._is_proven = True

    def on_good_call(self) -> None:
        """Record that something else than a poll succeeded: the account is good, and the host is the service."""
        self._is_proven = True
        if self._meaning in FOR_ALL:
            self._meaning = None

    def on_page_asked(self, now: float) -> None:
        """Record that a page is read for the contrast."""
        self._page_asked = now

    def begin_anew(self) -> None:
        """Forget what was heard from all: those who waited have been told, and who comes may have mended it."""
        self.failing_since = self.decides_at = math.inf
        self._meaning = None

    def begin_after_idle(self, now: float) -> bool:
        """Begin anew where nobody has waited, and the last failure is no news any more; return whether it is so."""
        is_old = now - self._failed.at > LATELY
        if is_old:
            self.begin_anew()
        return is_old

    def forget(self, task_id: int) -> None:
        """Forget an ID that nobody waits for."""
        self.failures.pop(task_id, None)

    # What did not.

    def judge(self, poll: FailedPoll, served: float, *, seen: bool, crowd: Crowd) -> Verdict:
        """Record a failed poll, and return whose trouble it is."""
        task_id, meaning, now = poll.task_id, poll.meaning, poll.at
        self._note(task_id, meaning, now)
        self.decides_at = math.inf
        if (patience := FOR_ALL.get(meaning)) is not None:
            enough = patience[self._is_proven or crowd.any_at > -math.inf]
            self.decides_at = self._run.since + enough.seconds
            if (crowd.alone or len(self._run_ids) > 1) and self._run.exceeds(enough, now):
                return Verdict(Whose.ALL, final=True)
        failures = self.failures.get(task_id)
        if failures is None:
            failures = self.failures[task_id] = Failures()
        if meaning is Meaning.PACED and not poll.odd:
            failures.note(poll.error)
            return Verdict(Whose.SERVICE, final=False)
        beside = self._contrast(poll, failures.at, crowd, seen=seen)
        failures.add(poll, beside, served)
        is_suspect = self._is_suspect(failures, now, crowd.any_at)
        heard = beside | {Beside.OTHERS} if is_suspect else beside
        rules = [rule for rule in RULES if rule.seen in (None, seen) and rule.beside in heard]
        passing = self._passed / (1 + self._passed)
        if any(failures.exceeds(rule, served, passing) for rule in rules):
            return Verdict(Whose.ID, final=True)
        for rule in rules:
            if rule.beside in beside and meaning in rule.words:
                return Verdict(Whose.ID, final=False, spacing=None if seen else rule.patience.spacing)
        if is_suspect:
            return Verdict(Whose.ID, final=False)
        self._blamed_at = now
        return Verdict(Whose.SERVICE, final=False)

    def wants_page(self, now: float, crowd: Crowd) -> bool:
        """Whether a page of the list would tell whose trouble it is."""
        matters = crowd.alone or (crowd.unseen and self._meaning is Meaning.UNKNOWN)
        return matters and now - self._page_asked >= PAGE_EVERY

    def error(self, task_id: int) -> OmgmjError | None:
        """Return how the last poll of an ID failed; None where it did not."""
        failures = self.failures.get(task_id)
        return None if failures is None else failures.error

    def _note(self, task_id: int, meaning: Meaning, now: float) -> None:
        """Count a failed poll among those of the session."""
        self.is_quiet = False
        self.failing_since = min(self.failing_since, now)
        self._failed.note(task_id, now)
        if meaning is not self._meaning:
            self._meaning, self._run = meaning, Run(0, now)
            self._run_ids.clear()
        self._run = Run(self._run.polls + 1, self._run.since)
        if len(self._run_ids) < 2:
            self._run_ids.add(task_id)

    def _is_suspect(self, failures: Failures, now: float, success: float) -> bool:
        """Whether a failure is taken for the ID's own, as others succeeded while it failed.

        It says nothing of the service until that fails one that nothing speaks against; nor, where the ID did not fail
        often by then, once nobody has succeeded for a while.
        """
        if not failures.against or self._blamed_at > success:
            return False
        return now - success <= LATELY or failures.against >= WHATEVER.polls

    def _contrast(self, poll: FailedPoll, before: float, crowd: Crowd, *, seen: bool) -> set[Beside]:
        """Return what a failed poll stands beside; `before` is when the ID's last one failed."""
        beside: set[Beside] = set()
        task_id, now = poll.task_id, poll.at
        success = crowd.others_at
        is_last_word = success > self._failed.of_others(task_id) and now - success <= LATELY
        if is_last_word or success > before > -math.inf:
            beside.add(Beside.OTHERS)
        page = now - self._last_page <= PAGE_SPEAKS
        if crowd.alone:
            beside.add(Beside.NOBODY)
            if page:
                beside.add(Beside.LIST)
        elif crowd.unseen and poll.meaning is Meaning.UNKNOWN:
            assumed = not seen and self._meaning is poll.meaning and now - self._run.since >= ASSUMED
            if page or assumed:
                beside.add(Beside.LIST)
        return beside
