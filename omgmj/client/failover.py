"""Failover: one call to a service of several addresses, asked at one after the other.

What may be repeated is asked at the next address at once, within the rate and within the call's own seconds. What
creates a task moves only where no connection was made. Whether an error is the address's is told by `protocol`, where
the next request goes by `mirrors`.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from omgmj import log
from omgmj.backoff.rate import EARLY
from omgmj.client.deadline import Deadline
from omgmj.client.limiter import Limiter
from omgmj.client.mirrors import PATIENCE, Mirror, Mirrors
from omgmj.errors import AuthError, ExchangeTimeout, OmgmjError, ServiceError, TransportError
from omgmj.protocol.failures import Meaning, is_of_the_way, meaning
from omgmj.protocol.messages import JSON, Fate, Passage, Request

T = TypeVar("T")


class Failover:
    """The calls of one session to a service of several addresses."""

    def __init__(self, urls: Sequence[str], limiter: Limiter, loop: asyncio.AbstractEventLoop) -> None:
        self._mirrors = Mirrors(urls)
        self._limiter = limiter
        self._loop = loop
        self._out: dict[Deadline, tuple[Mirror, float]] = {}  # what may be repeated: where it was sent, and when
        self._hopeless: set[Mirror] = set()  # what they said last was for good
        self._said: dict[Mirror, str] = {}  # how each failed last

    async def call(
        self,
        ask: Callable[[float, str], Awaitable[T | None]],
        request: Request,
        seconds: float,
        deadline: Deadline,
        passage: Passage | None,
    ) -> T | None:
        """Return what `ask` returns, called with the seconds that it may take and an address, once for each address.

        Its `deadline` ends it. Whoever calls holds a slot; each address after the first waits for the rate.
        """
        again, large = request.idempotent, not request.idempotent and request.content_type == JSON
        left, tried = seconds, list[Mirror]()
        mirror = self._mirrors.take(self._loop.time(), repeatable=again, large=large)
        while True:
            sent_at = self._loop.time()
            share = self._mirrors.share(mirror, left, tried) if again else left
            if again:
                self._out[deadline] = mirror, sent_at
            try:
                value = await ask(share, mirror.url)
            except OmgmjError as error:
                failed = error
            else:
                if value is not None:
                    self._on_answer(mirror, sent_at)
                return value
            finally:
                self._out.pop(deadline, None)
            moves = is_of_the_way(failed) and (again or (passage is not None and passage.fate is Fate.UNSENT))
            failed = self._on_error(mirror, failed, sent_at, again=again)
            tried.append(mirror)
            left -= self._loop.time() - sent_at
            # Raised out here, so that nothing of what failed before hangs on it as its context.
            if not moves or left <= EARLY:
                raise failed
            following = self._mirrors.take_next(self._loop.time(), tried)
            if following is None:
                raise failed
            mirror = following
            log.failed_over(request.path, mirror.url, failed)
            await self._limiter.take_another()

    def _on_answer(self, mirror: Mirror, sent_at: float) -> None:
        self._hopeless.discard(mirror)
        before = self._mirrors.told
        if self._mirrors.on_answer(mirror, sent_at, self._loop.time()):
            if mirror is self._mirrors.all[0]:
                log.moved_back(mirror.url)
            else:
                log.moved(mirror.url, self._said.get(before, "not told"))

    def _on_error(self, mirror: Mirror, error: OmgmjError, sent_at: float, *, again: bool) -> OmgmjError:
        """Note what an error says of an address; return it as what it is to a session that has others."""
        if isinstance(error, AuthError) or not isinstance(error, ServiceError | TransportError):
            return error  # It is the account's, or this machine's.
        said = f"no answer within {self._loop.time() - sent_at:.3g} s" if isinstance(error, ExchangeTimeout) else error
        error.args = (f"{said} (asked at {mirror.url})", *error.args[1:])
        if not is_of_the_way(error):
            self._on_answer(mirror, sent_at)
            return error
        # A large one takes its time, and says nothing by it.
        silent = again and isinstance(error, ExchangeTimeout)
        if self._mirrors.on_failure(mirror, sent_at, self._loop.time(), random.random(), silent=silent):
            self._hasten(mirror)
        self._said[mirror] = str(error)
        if meaning(error) is not Meaning.FINAL:
            self._hopeless.discard(mirror)
            return error
        self._hopeless.add(mirror)
        if len(self._hopeless) == len(self._mirrors.all):
            return error
        return TransportError(*error.args)  # Another one may answer yet.

    def _hasten(self, mirror: Mirror) -> None:
        """Wait no longer than `PATIENCE` for what is out at an address that is down now."""
        now = self._loop.time()
        for deadline, (asked, sent_at) in self._out.items():
            if asked is mirror and deadline.when < math.inf:
                deadline.expire_at(min(deadline.when, max(now, sent_at + PATIENCE)))
