"""Health of the service, seen from all polls together: whether it answers, lets polls through, and is fast enough.

It keeps the circuit breaker, and says each thing once in the log. What one poll means to its ID is left to `planner`.
"""

from __future__ import annotations

from omgmj import log
from omgmj.client.limiter import Limiter
from omgmj.errors import OmgmjError, ServiceUnavailable
from omgmj.models import Task
from omgmj.protocol.failures import Meaning
from omgmj.records import Oddities
from omgmj.scheduler.circuit_breaker import CircuitBreaker
from omgmj.scheduler.planner import Planner
from omgmj.scheduler.registry import NEVER
from omgmj.scheduler.verdicts import WORDS, FailedPoll, Verdict, Whose

LATE, LATE_FOR = 10.0, 60.0
"""Polls that start so many seconds late, for so many seconds: the rate is too low for what is watched."""
LATE_WEIGHT = 0.05
"""How much the last poll counts in the mean lateness."""
REFUSED_FOR = 60.0
"""Seconds of nothing but 429 after which it is said."""
UNKNOWN_WORDS = 20
"""Unknown status words that are said at most, each once."""


class Health:
    """The health of one session's service. Times are seconds on the event loop's clock.

    `is_well` while nothing has failed since the last answer; `outage` is the error that shows an outage, while there is
    one; `late` the mean lateness of polls; `odd` what is odd in answers. `gives_up_at` is when nobody has succeeded for
    `patience` seconds.
    """

    def __init__(self, planner: Planner, limiter: Limiter, now: float, patience: float) -> None:
        self.breaker: CircuitBreaker = CircuitBreaker()
        self.is_well: bool = True
        self.outage: OmgmjError | None = None
        self.late: float = 0.0
        self.gives_up_at: float = NEVER
        self._patience = patience
        self._last_error: OmgmjError | None = None
        self._planner = planner
        self._limiter = limiter
        self._answering_since = now
        self._down_said = False
        self._refused_since: float | None = None
        self._late_since: float | None = None
        self._unknown_words: set[str] = set()
        self.odd: Oddities = Oddities(log.odd_field)

    def on_answer(self, now: float) -> None:
        """Note that somebody succeeded. It is no news while all is well."""
        self.is_well = True
        self.gives_up_at = NEVER
        self._refused_since = None
        if self.breaker.failures:
            self._close(now)

    def on_failure(self, poll: FailedPoll, verdict: Verdict, roll: float, *, probe: bool) -> None:
        """Note a failed poll, and whose trouble it is."""
        error, means, now = poll.error, poll.meaning, poll.at
        self.is_well = False
        self._last_error = error
        self.gives_up_at = self._planner.verdicts.failing_since + self._patience
        if means is Meaning.PACED:
            self._close(now)
            self._on_refusal(now)
            return
        self._refused_since = None
        blames = verdict.whose is not Whose.ID
        if not blames and means in WORDS:
            self._close(now)  # It answers, whatever it says of this one.
            return
        self.on_no_answer(error, now, roll, probe=probe, blames=blames)
        if self.breaker.is_open:
            self.outage = error
            self.breaker.hasten(self._planner.verdicts.decides_at, now)

    def on_no_answer(self, error: OmgmjError, now: float, roll: float, *, probe: bool, blames: bool) -> None:
        """Note a failure that may be the service's: it may be one too many. `blames`: nothing else explains it."""
        self.is_well = False
        if self.breaker.saw_failure(now, roll, probe=probe, blames=blames):
            self._planner.outage_began(now)
            self._down_said = False
        elif probe and blames and not self._down_said:
            self._down_said = True
            log.outage(self._planner.registry.watched, error)

    def unavailable(self) -> ServiceUnavailable:
        """Return the error of waits in which nobody has succeeded for too long."""
        last = self._last_error
        error = ServiceUnavailable(f"nobody has been answered for {self._patience:g} s; what came last: {last}")
        error.__cause__ = last
        return error

    def begin_anew(self) -> None:
        """Begin anew, when all who waited have been told."""
        self.gives_up_at = NEVER

    def on_first_wait(self, now: float) -> None:
        """Note that somebody waits, after nobody did: the time in between is no time in which nobody was answered."""
        if self._planner.verdicts.begin_after_idle(now):
            self.begin_anew()

    def on_no_probe(self, now: float) -> None:
        """Note that what went out as the probe told nothing, as a page does that is read: the probe is still to go."""
        self.breaker.hasten(now, now)

    def on_unknown_word(self, task: Task) -> None:
        """Say once of each unknown status word that it was seen."""
        if task.status in self._unknown_words or not task.status.strip():
            return
        if len(self._unknown_words) < UNKNOWN_WORDS:
            self._unknown_words.add(task.status)
            log.unknown_status(task.id, task.status)

    def on_start(self, due: float, now: float, *, poll: bool) -> None:
        """Note a poll that starts; warn once when polls stay late, and anew only after some were in time."""
        late = max(0.0, now - max(due, self._answering_since))
        self.late += LATE_WEIGHT * (late - self.late)
        if not poll:
            return
        if late <= LATE:
            self._late_since = None
        elif self._late_since is None:
            self._late_since = now
        elif now - self._late_since >= LATE_FOR:
            self._late_since = NEVER
            log.polls_are_late(late, self._planner.registry.watched, self._limiter.rate.limit)

    def _close(self, now: float) -> None:
        self.outage = None
        if self.breaker.saw_success():
            self._answering_since = now
            self._planner.outage_over(now)

    def _on_refusal(self, now: float) -> None:
        """Warn once when nothing but 429 comes, and again only after something else came in between."""
        if self._refused_since is None:
            self._refused_since = now
        elif now - self._refused_since >= REFUSED_FOR:
            self._refused_since = NEVER
            log.refused_for_long(self._planner.registry.watched)
