"""Mirrors: several addresses of one service, and which of them the next request goes to.

An address is well, down or on trial. All goes to the first one that is well, in the order that the user gave. After
`FAILURES` that few answers make up for, or `SILENCE` in which it answered nothing, it is down. Then it is tried with
a single request after a while, each time a longer one. When that is answered it is on trial, with a request now and
then, and well again when it has answered all of them for `proof` seconds. These grow where it falls again soon, so that
one that flaps is not gone back to. Where none is well, all goes to the one that is longest on trial, else to the one
whose turn it is to be tried.

Time and chance are handed in. How an address is asked is `failover`'s business.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Collection, Iterable

FAILURES = 3.0
"""Failures after which an address is down,"""
REDRESS = 0.2
"""of which each answer takes so much off: one that fails now and then, by chance, stays well."""
SILENCE = 5.0
"""Seconds of silence that count for all of them, where the address answered nothing meanwhile."""
FIRST, FACTOR, CAP = 2.0, 2.0, 30.0
"""Seconds until an address that is down is tried, their growth, and seconds at most."""
JITTER = 0.25
"""Share of these seconds that chance may take off, so that many sessions do not come back in step."""
PATIENCE = 3.0
"""Seconds in which an address that is tried has to answer, as another one waits to be asked."""
EVERY = 4.7
"""Seconds between two requests to an address on trial: no round number, so as not to be in step with what flaps."""
PROOF, PROOF_MOST = 20.0, 640.0
"""Seconds of good answers after which an address is well again; at most, after it fell again and again."""
ANSWERS = 3
"""Answers that this takes at least."""
FORGIVEN = 600.0
"""Seconds of being well after which it is not held against an address that it fell before."""
SPLIT = 10.0
"""Seconds that a call must have left for the first address to get one half of them only."""


class State(enum.Enum):
    """How an address is."""

    WELL = "well"
    TRIAL = "on trial"
    DOWN = "down"


class Mirror:
    """One address of the service, and what is known of it."""

    __slots__ = (
        "answered",
        "answers",
        "delay",
        "failed_at",
        "failures",
        "proof",
        "since",
        "state",
        "try_at",
        "url",
    )

    def __init__(self, url: str) -> None:
        self.url: str = url
        self.state: State = State.WELL
        self.since: float = -math.inf  # when it came into this state
        self.failures: float = 0.0  # less what answers have made up for, while it is well
        self.answers: int = 0  # while it is on trial
        self.answered: float = -math.inf  # when that was sent which it answered, the latest of it
        self.failed_at: float = -math.inf  # when it was found down, or failed a trial: what was sent before is old news
        self.try_at: float = -math.inf  # while it is not well
        self.delay: float = FIRST
        self.proof: float = PROOF


class Mirrors:
    """The addresses of one service, in the order in which they are wanted; times are seconds on the caller's clock.

    `told` is the one that was last told to be where requests go.
    """

    def __init__(self, urls: Iterable[str]) -> None:
        self.all: list[Mirror] = [Mirror(url) for url in urls]
        self.told: Mirror = self.all[0]

    @property
    def home(self) -> Mirror:
        """The address that what is no trial goes to."""
        return min(self.all, key=self._rank)

    def take(self, now: float, *, repeatable: bool, large: bool) -> Mirror:
        """Choose where a request goes.

        One that is `repeatable` may be used to try an address; what is `large` goes to the first one unless it is down.
        """
        chosen = self.home
        if large and self.all[0].state is not State.DOWN:
            chosen = self.all[0]
        elif repeatable and chosen.state is not State.DOWN:
            others = (mirror for mirror in self.all if mirror is not chosen and mirror.state is not State.WELL)
            chosen = next((mirror for mirror in others if mirror.try_at <= now), chosen)
        return self._taken(chosen, now)

    def take_next(self, now: float, tried: Collection[Mirror]) -> Mirror | None:
        """Choose where a request goes that `tried` some already; None where it had better go nowhere any more."""
        best = min((mirror for mirror in self.all if mirror not in tried), key=self._rank, default=None)
        if best is None or (best.state is State.DOWN and now < best.try_at):
            return None
        return self._taken(best, now)

    def share(self, mirror: Mirror, left: float, tried: Collection[Mirror]) -> float:
        """Return how many of the seconds `left` of a call that may be repeated the next address gets."""
        others = (other for other in self.all if other is not mirror and other not in tried)
        if all(other.state is State.DOWN for other in others):
            return left
        if mirror.state is not State.WELL:
            return min(left, PATIENCE)
        return left / 2 if left >= SPLIT else left

    def on_answer(self, mirror: Mirror, sent_at: float, now: float) -> bool:
        """Record an answer of the service; return whether that is to be told: requests go here now, and did not.

        An address that is still on trial is not told of: it may not stay.
        """
        mirror.answered = max(mirror.answered, sent_at)
        if sent_at > mirror.failed_at:
            mirror.failures = max(0.0, mirror.failures - REDRESS)
            if mirror.state is State.DOWN:
                mirror.state, mirror.since, mirror.answers = State.TRIAL, now, 0
                mirror.try_at = now + EVERY
            if mirror.state is State.TRIAL:
                mirror.answers += 1
                if mirror.answers >= ANSWERS and now - mirror.since >= mirror.proof:
                    mirror.state, mirror.since = State.WELL, now
        if mirror is self.told or mirror.state is not State.WELL or mirror is not self.home:
            return False
        self.told = mirror
        return True

    def on_failure(self, mirror: Mirror, sent_at: float, now: float, roll: float, *, silent: bool) -> bool:
        """Record that no answer of the service came; return whether the address is down by it, and was not.

        `silent`: nothing came at all.
        """
        if sent_at <= mirror.failed_at:
            return False
        fell = mirror.state is not State.DOWN
        if mirror.state is State.WELL:
            mirror.failures += 1
            is_silence = silent and now - sent_at >= SILENCE and sent_at > mirror.answered
            if mirror.failures < FAILURES and not is_silence:
                return False
            fell_again = now - mirror.since < FORGIVEN
            mirror.proof = min(mirror.proof * FACTOR, PROOF_MOST) if fell_again else PROOF
            mirror.delay = FIRST
        else:
            mirror.delay = min(mirror.delay * FACTOR, CAP)
        mirror.state, mirror.since, mirror.failures = State.DOWN, now, 0.0
        mirror.failed_at = now
        mirror.try_at = now + mirror.delay * (1 - JITTER * roll)
        return fell

    def _taken(self, mirror: Mirror, now: float) -> Mirror:
        """Note that an address is asked, so that nobody else tries it meanwhile."""
        if mirror.state is not State.WELL:
            mirror.try_at = now + (EVERY if mirror.state is State.TRIAL else PATIENCE)
        return mirror

    def _rank(self, mirror: Mirror) -> tuple[int, float]:
        """Order addresses by how willingly they are asked."""
        if mirror.state is State.WELL:
            return 0, self.all.index(mirror)
        return (1, mirror.since) if mirror.state is State.TRIAL else (2, mirror.try_at)
