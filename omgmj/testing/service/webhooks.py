"""The make-believe service's webhook calls: which are due when, and what each posts.

Pure. A call is due at each moment of the life of a task that has a webhook on loopback: for progress and for the end,
up to `LATEST` seconds late, in no promised order, and never again. Any other webhook is never called. What goes wrong
is `simulator`'s business; the room above sends.
"""

from __future__ import annotations

import heapq
import ipaddress
import random
from typing import NamedTuple
from urllib.parse import urlsplit

from omgmj.testing.service.fake_task import FakeTask

LATEST = 0.6
"""Seconds that a call may be late; 0.3 in the mean."""


class WebhookCall(NamedTuple):
    """A POST of `body` to `url`, `delay` seconds from now."""

    url: str
    body: bytes
    delay: float


class DueCall(NamedTuple):
    """A call that is due: for `task` at the number `moment` of its life, `late` seconds later than it should be."""

    task: FakeTask
    moment: int
    late: float


class Webhooks:
    """The calls that are to come. A task stands here once, with its next moment."""

    def __init__(self, seed: int) -> None:
        self.elsewhere: int = 0
        """How many tasks had a webhook that is not on loopback."""
        self._due: list[tuple[float, int, int, FakeTask]] = []
        self._chance = random.Random(f"webhooks {seed}")

    def add(self, task: FakeTask) -> None:
        """Take a task that may have a webhook."""
        if task.webhook is not None and _is_loopback(task.webhook):
            self._push(task, 0)
        elif task.webhook is not None:
            self.elsewhere += 1

    @property
    def next_at(self) -> float | None:
        """When the next call is due, in seconds; None where none is to come."""
        return self._due[0][0] if self._due else None

    def take(self, now: float) -> list[DueCall]:
        """Return the calls that are due by `now`; each is returned once."""
        calls = []
        while self._due and self._due[0][0] <= now:
            *_, index, task = heapq.heappop(self._due)
            calls.append(DueCall(task, index, self._chance.uniform(0.0, LATEST)))
            if index + 1 < len(task.life.moments):
                self._push(task, index + 1)
        return calls

    def _push(self, task: FakeTask, index: int) -> None:
        heapq.heappush(self._due, (task.made + task.life.moments[index].at, task.id, index, task))


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
