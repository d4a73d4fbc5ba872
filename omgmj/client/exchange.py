"""One call to the service: the token, the time it may take, what the rate learns from the answer, and retries.

`once` is a single exchange, for whoever holds a slot of the limiter; `call` takes slots itself and repeats what is
transient. Reading an answer is `protocol`'s business, handed in as `read`.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import attrs

from omgmj import log
from omgmj.backoff.policies import Retry
from omgmj.backoff.refusals import Refusals
from omgmj.base_url import BaseUrl
from omgmj.client.clock import Clock
from omgmj.client.credentials import PATIENCE, UNAUTHORIZED, Credentials
from omgmj.client.deadline import Deadline, Deadlines
from omgmj.client.failover import Failover
from omgmj.client.limiter import Limiter
from omgmj.client.retrying import retrying
from omgmj.client.secrets import Secret
from omgmj.client.transport import Transport
from omgmj.errors import (
    AuthError,
    DecodeError,
    OmgmjError,
    RateLimited,
    ServiceError,
    SessionClosed,
    SubmissionUncertain,
    TransportError,
)
from omgmj.protocol.failures import Meaning, is_refusal, meaning
from omgmj.protocol.messages import Answer, Fate, Passage, Request
from omgmj.protocol.responses import is_turned_away, read_created
from omgmj.protocol.submissions import Draft, text
from omgmj.threads import in_thread

T = TypeVar("T")
UPLOAD = 128 * 1024
"""Bytes of a submission a second that its line is trusted with: images may take longer than `request_timeout`."""
LARGE = 256 * 1024
"""Bytes from which on an answer is read in a thread."""


class Exchange:
    """Calls to one service through one limiter."""

    def __init__(
        self,
        transport: Transport,
        base_url: BaseUrl,
        credentials: Credentials,
        limiter: Limiter,
        *,
        request_timeout: float,
        retry: Retry,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.queries: int = 0
        self.retries: int = 0
        self.rate_limited: int = 0
        self.refusals: Refusals = Refusals()
        self.clock: Clock = Clock(loop)
        self._transport = transport
        self.base_url: str = str(base_url)
        self._credentials = credentials
        self._limiter = limiter
        self._timeout = request_timeout
        self._retry = retry
        self._loop = loop
        self._deadlines = Deadlines(request_timeout, loop)
        self._failover = Failover(base_url.urls, limiter, loop) if base_url.mirrors else None

    async def call(self, request: Request, read: Callable[[Answer], T]) -> T:
        """Make a direct call: wait for a slot, exchange, repeat what is transient while the request allows it.

        `read` makes a value of the answer, never None, or raises.
        """
        with Deadline(self._deadlines) as deadline:

            def attempt() -> Awaitable[T]:
                return self._in_slot(request, lambda: self._once(request, read, deadline))

            if not request.idempotent:
                return await attempt()
            return await retrying(attempt, self._retry, what=request.path, passes=_in_passing, on_retry=self._on_retry)

    async def submit(self, draft: Draft, passage: Passage) -> int:
        """Send what creates a task, and return the task's ID. It is sent again only where the service has not read it.

        It has not where no connection was made, or after a 429. `SubmissionUncertain`: the answer was lost. The
        `passage` tells how far it has come, also to who is cancelled.
        """
        with Deadline(self._deadlines) as deadline:

            def attempt() -> Awaitable[int]:
                passage.fate = Fate.UNSENT
                return self._in_slot(draft.request, partial(self._submit_once, draft, deadline, passage))

            def passes(error: OmgmjError) -> bool:
                if isinstance(error, RateLimited):
                    return True
                return isinstance(error, TransportError) and passage.fate is Fate.UNSENT

            path = draft.request.path
            return await retrying(attempt, self._retry, what=path, passes=passes, on_retry=self._on_retry)

    async def _submit_once(self, draft: Draft, deadline: Deadline, passage: Passage) -> int:
        """Send a submission once; after any error but `SubmissionUncertain` there is surely no task."""
        sent = attrs.evolve(draft.submission, sent_at=self.clock.now(), served_at=self.clock.served())
        try:
            made = await self._once(draft.request, read_created, deadline, passage)
        except asyncio.CancelledError:
            if passage.fate is Fate.SENT:
                log.cut_off(text(sent, whole=True))
            raise
        except Exception as error:
            if passage.fate is not Fate.SENT:
                raise
            lost = error
        else:
            if made is not None:
                return made
            raise AuthError(
                "the service did not take the token, and nothing was created; there is another token now: call again",
                status=UNAUTHORIZED,
            )
        # What was lost was masked where it was made, and what was sent is the caller's own.
        raise SubmissionUncertain(
            "it is not known whether this created a task, so search for it before you send it again"
            f" (Session.reconcile): {text(sent)}: {lost}",
            submission=sent,
        ) from lost

    async def once(
        self,
        request: Request,
        read: Callable[[Answer], T],
        patience: float = math.inf,
        *,
        renewal: float = PATIENCE,
    ) -> T | None:
        """Make one exchange for whoever holds a slot; `read` never returns None.

        It takes at most `request_timeout`, or `patience` seconds where that is shorter; where the token is refused, at
        most `renewal` seconds more for a new one. Return None where there is one: the request wants to be sent again.
        """
        with Deadline(self._deadlines) as deadline:
            return await self._once(request, read, deadline, patience=patience, renewal=renewal)

    def open(self) -> Deadline:
        """Return a context whose block ends with `SessionClosed` when the session is closed, or is closed already."""
        return Deadline(self._deadlines)

    def close(self, error: SessionClosed) -> None:
        """End all that is out with a copy of `error`, and let nothing begin any more."""
        self._deadlines.close(error)

    async def _in_slot(self, request: Request, work: Callable[[], Awaitable[T | None]]) -> T:
        """Wait for the slot of a direct call, and do the work in it; in another slot again while that returns None.

        A subject that the service wants to be left alone holds its own requests only.
        """
        while True:
            if self.refusals.rows and (held_for := self.refusals.held_for(request.subject, self._loop.time())):
                await asyncio.sleep(held_for)
            if not self._limiter.enter_at_once(self._loop.time()):
                await self._limiter.enter()
            try:
                value = await work()
            finally:
                self._limiter.leave()
            if value is not None:
                return value

    async def _once(
        self,
        request: Request,
        read: Callable[[Answer], T],
        deadline: Deadline,
        passage: Passage | None = None,
        patience: float = math.inf,
        address: str = "",
        renewal: float = PATIENCE,
    ) -> T | None:
        if self._failover is not None and not address:
            ask = partial(self._once, request, read, deadline, passage, renewal=renewal)
            return await self._failover.call(ask, request, min(self._timeout, patience), deadline, passage)
        try:
            token = self._credentials.known or await self._first_token(deadline)
            sent_at = self._loop.time()
            allowed = self._timeout + len(request.body) / UPLOAD if passage else min(self._timeout, patience)
            deadline.expire_at(sent_at + allowed)
            self.queries += 1
            if passage is None:
                answer = await self._transport.send(address or self.base_url, request, token)
            else:
                passage.fate = Fate.SENT  # Unless the transport knows better.
                answer = await self._transport.send(address or self.base_url, request, token, passage)
            deadline.when = math.inf
            self.clock.told = answer.headers, self._loop.time(), time.time()
            try:
                value = read(answer) if len(answer.body) < LARGE else await in_thread(partial(read, answer))
            except OmgmjError as refused:
                error = refused
            else:
                if self._credentials.in_doubt:
                    self._credentials.on_accepted(token)
                if self.refusals.rows:
                    self.refusals.on_success(request.subject)
                self._limiter.rate.saw_success(sent_at, self._loop.time())
                return value
            error = _masked(error, read, answer, token)
            _note_refusal(passage, error, answer)
            del answer  # It may hold what was masked, and a traceback may show it.
            if await self._refused(error, request, token, sent_at, deadline, renewal):
                return None
        except asyncio.CancelledError:
            meant = deadline.meant()
            if meant is None:
                raise
            error = meant
        finally:
            deadline.when = math.inf
        # Raised out here, so that nothing of what was cut off hangs on it as its context.
        raise error

    async def _first_token(self, deadline: Deadline) -> Secret:
        deadline.expire_at(self._loop.time() + PATIENCE)
        return await self._credentials.current()

    async def _refused(
        self, error: OmgmjError, request: Request, token: Secret, sent_at: float, deadline: Deadline, renewal: float
    ) -> bool:
        """Tell the rate and the credentials of a refusal; return whether there is another token to try."""
        if isinstance(error, RateLimited):
            self._on_429(error, request, sent_at)
        elif isinstance(error, AuthError) and UNAUTHORIZED in (error.status, error.code):
            # A token callable may hang too.
            deadline.expire_at(self._loop.time() + min(PATIENCE, renewal))
            return await self._credentials.renew(token, sent_at)
        elif not isinstance(error, ServiceError) or error.code is not None:
            self.refusals.on_success(request.subject)
            self._limiter.rate.saw_success(sent_at, self._loop.time())
        return False

    def _on_429(self, error: RateLimited, request: Request, sent_at: float) -> None:
        now, rate = self._loop.time(), self._limiter.rate
        self.rate_limited += 1
        is_own = self.refusals.on_429(request.subject, now, error.retry_after, rate.answers)
        if not is_own and rate.saw_429(sent_at, now, error.retry_after):
            log.slowed_down(rate.limit, error)

    def _on_retry(self) -> None:
        self.retries += 1


def _in_passing(error: OmgmjError) -> bool:
    return meaning(error) in (Meaning.TRANSIENT, Meaning.PACED)


def _note_refusal(passage: Passage | None, error: OmgmjError, answer: Answer) -> None:
    if passage is not None and (is_refusal(error) or is_turned_away(answer)):
        passage.fate = Fate.REFUSED


def _masked(refused: OmgmjError, read: Callable[[Answer], object], answer: Answer, token: Secret) -> OmgmjError:
    """Return what the answer says, without the token, should the service tell it back."""
    headers = {name: token.scrub(value) for name, value in answer.headers.items()}
    clean = answer._replace(headers=headers, body=token.scrub_bytes(answer.body))
    if clean != answer:
        # Masked before it is read: what is made of it may be cut in the middle of the token.
        try:
            read(clean)
        except OmgmjError as error:
            if type(error) is type(refused) and meaning(error) is meaning(refused):
                refused = error
    # JSON may spell a character in more ways than one, so what was read is looked through too.
    refused.args = tuple(token.scrub(arg) if isinstance(arg, str) else arg for arg in refused.args)
    if isinstance(refused, ServiceError):
        refused.message = token.scrub(refused.message)
    elif isinstance(refused, DecodeError):
        refused.body = token.scrub_bytes(refused.body)
    # What it was made from is not looked through.
    refused.__cause__ = refused.__context__ = refused.__traceback__ = None
    return refused
