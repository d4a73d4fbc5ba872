"""Trust in the account's list: a circuit breaker of its own, opened by signs against the list.

Errors, missing IDs and late pages are signs. Enough of them, and the list is left alone for a while, each time longer;
good pages take signs off again. That it stands still is found by spot checks: now and then an ID is polled singly.
"""

from __future__ import annotations

import math

LAG = 2.0
"""Seconds: lag of the list that is no sign against it, more than the clocks of one service differ."""
STRIKES = 3
"""Signs: so many, less those taken off, and the list is left alone."""
LAGGED = 2
"""Signs: one page that lags behind another counts so many, as it takes one off by having come."""
REST = 60.0
"""Seconds: length of the first rest."""
LONGEST_REST = 3600.0
"""Seconds: length of a rest at most."""
SHORTER = 0.99
"""Ratio: length of the next rest, after a good page to before it."""
FAILED_WEIGHT = 0.08
"""Weight, 0 to 1: the last page's in the share of pages that fail in passing."""
SILENT_WEIGHT = 0.3
"""Weight, 0 to 1: that of a page that did not come while its IDs could wait, as all of them waited for it."""
FAILING = 0.5
"""Share, 0 to 1: with more pages than that failing in passing, the list is left alone."""
HOPED = 2.0
"""IDs a page: what pages are thought to show of those that are due, before any was read."""
WORTH = 1.0
"""IDs a page: where pages show fewer on average, polling singly costs less."""
WORTH_WEIGHT = 0.04
"""Weight, 0 to 1: the last page's in that average."""
CHECK_PAGES = 4
"""Pages: so many come before the next spot check."""
CHECK_SECONDS = 5.0
"""Seconds: a spot check comes no sooner after the last one."""


class ListTrust:
    """Signs against the list, and the rest they bring. Times are seconds on the planner's clock."""

    def __init__(self) -> None:
        self.rests_until: float = -math.inf
        self._rest = REST
        self._signs = 0
        self._failing = 0.0  # share of pages
        self._worth = HOPED  # IDs a page
        self._lagged_at = self._silent_at = -math.inf

    def strike(self, now: float, signs: int) -> bool:
        """Record signs against the list; return whether its rest begins with them."""
        if now < self.rests_until:
            return False  # A page or a poll was under way.
        self._signs += signs
        if self._signs < STRIKES:
            return False
        self._begin_rest(now)
        return True

    def on_read(self) -> None:
        """Record that a page could be read."""
        self._failing -= FAILED_WEIGHT * self._failing

    def on_transient(self, now: float) -> None:
        """Record that a page failed in passing; the list rests where many do."""
        self._fail(now, FAILED_WEIGHT)

    def on_silence(self, now: float, asked_at: float) -> None:
        """Record a page that did not come while its IDs could wait; those that were out at once are silent once."""
        if asked_at > self._silent_at:
            self._silent_at = now
            self._fail(now, SILENT_WEIGHT)

    def _fail(self, now: float, weight: float) -> None:
        self._failing += weight * (1 - self._failing)
        if self._failing > FAILING:
            self._begin_rest(now)

    def on_429(self, now: float, held_for: float, *, odd: bool) -> None:
        """Record that a page was refused with 429; the list rests for so many seconds, or longer where `odd`.

        `odd`: the list is refused while others are not.
        """
        if odd:
            self._begin_rest(now)
        self.rests_until = max(self.rests_until, now + held_for)

    def on_answers(self, due: int, shown: int, absent: int) -> int:
        """Record how many due IDs a page showed; of those it was read for, how many it showed and how many it lacked.

        Return the signs against the list.
        """
        self._worth += WORTH_WEIGHT * (due - self._worth)
        if self._worth < WORTH:
            return STRIKES
        return 1 if absent > shown else 0

    def on_good_page(self, *, deeper: bool) -> None:
        """Take a sign off, or shorten the next rest where there is none."""
        if self._signs:
            self._signs -= 1
        elif not deeper:
            self._rest = max(REST, self._rest * SHORTER)

    def on_lag(self, now: float, *, listed: bool) -> int:
        """Record a page well behind what was seen before; return the signs against the list.

        `listed`: another page showed it. Pages may come from several places, so this is one sign for all of a page's
        records. A poll of the ID leaves no doubt.
        """
        if listed and now <= self._lagged_at:
            return 0
        self._lagged_at = now
        return LAGGED if listed else STRIKES

    def _begin_rest(self, now: float) -> None:
        self._signs, self._failing, self._worth = 0, 0.0, HOPED
        self.rests_until = now + self._rest
        self._rest = min(LONGEST_REST, self._rest * 2)


class SpotChecks:
    """Turns of single polls among IDs that pages show. Times are seconds on the planner's clock."""

    def __init__(self) -> None:
        self._pages = 0  # since the last check
        self._last = -math.inf

    def is_due(self, now: float) -> bool:
        """Whether pages and seconds enough have passed since the last check."""
        return self._pages >= CHECK_PAGES and now - self._last >= CHECK_SECONDS

    def on_page(self) -> None:
        """Count a page."""
        self._pages += 1

    def on_check(self, now: float) -> None:
        """Begin to count anew."""
        self._pages, self._last = 0, now
