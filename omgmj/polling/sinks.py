"""The sink behind a reader's handle: what `follow` and `watch` have in common.

The poller tells a sink, and the sink holds what it was told until its reader comes. Handle and sink are two objects: a
handle that is dropped is noticed at once, and its waits end. So a sink holds nothing of the user's, such as a callback
or a context: it may refer to the handle.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import NamedTuple

from omgmj.backoff.policies import Policy
from omgmj.errors import OmgmjError, UsageError
from omgmj.models import Task
from omgmj.polling.hold import Hold
from omgmj.polling.poller import Poller
from omgmj.scheduler.registry import Sink


class Terms(NamedTuple):
    """Terms of a wait: its policy, and its limits in seconds (None: for ever)."""

    policy: Policy
    timeout: float | None
    stall: float | None


class ReaderSink(Sink, ABC):
    """A sink with one handle and its readers. It ends once, in whatever way. `hold` is what it has in the journal."""

    def __init__(self, poller: Poller, hold: Hold | None) -> None:
        self.hold: Hold | None = hold
        self._poller = poller
        self._loop = asyncio.get_running_loop()
        self._told = asyncio.Event()
        self._over = False

    async def told(self) -> None:
        """Wait until something is told; to be awaited by a reader that has just found nothing.

        `UsageError` in another event loop than the handle's.
        """
        if asyncio.get_running_loop() is not self._loop:
            raise UsageError("this belongs to the event loop in which it was made, and ends with it")
        # Those who wait already wake all the same when it is set next.
        self._told.clear()
        await self._told.wait()

    def hand(self, *results: Task | OmgmjError) -> None:
        """Note what the reader is handed and is the last of its ID."""
        if self.hold is not None:
            for result in results:
                self.hold.hand(result)

    def leave(self) -> None:
        """End all waits and wake the readers; while a policy is being asked, right after it has answered."""
        if self._poller.planner.progress.asking:
            self._poller.later(self.leave)
            return
        if not self._over:
            self._end()
            self._unsubscribe()
        self._told.set()

    def release(self) -> None:
        """Leave, and leave in the journal what is not done with."""
        self.leave()
        if self.hold is not None:
            self.hold.leave()

    def abandon(self) -> None:
        """Leave on behalf of a handle that is gone; the garbage collector may say so at any moment, in any thread."""
        if not self._over or self.hold is not None:
            self._poller.later(self.release)

    def _end(self) -> None:
        """Take no more part in anything; subscriptions are ended apart."""
        self._over = True
        self._poller.close(self)

    @abstractmethod
    def _unsubscribe(self) -> None:
        """End the subscriptions."""
