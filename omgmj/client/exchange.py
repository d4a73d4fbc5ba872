"""One call to the service: the token, the time it may take, what the rate learns from the answer, and retries.

`once` is a single exchange, for whoever holds a slot of the limiter; `call` takes slots itself and repeats what is
transient. Whether an answer is good is `protocol`'s business, handed in as `read`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self, TypeVar

import attrs

from omgmj.backoff.policies import Retry
from omgmj.client.cancellation import FROM_BELOW
from omgmj.client.credentials import GRACE, UNAUTHORIZED, Credentials
from omgmj.client.limiter import Limiter
from omgmj.client.timer import Timer
from omgmj.errors import (
    AuthError,
    DecodeError,
    ExchangeTimeout,
    OmgmjError,
    RateLimited,
    ServiceError,
    SessionClosed,
    SubmissionUncertain,
    TransportError,
    UsageError,
    crashed,
)
from omgmj.models import Secret
from omgmj.protocol.failures import Meaning, is_refusal, meaning
from omgmj.protocol.messages import Answer, Fate, Passage, Request
from omgmj.protocol.responses import read_created
from omgmj.protocol.submissions import Draft, text

if TYPE_CHECKING:
    from omgmj.client.transport import Transport

T = TypeVar("T")
UPLOAD = 128 * 1024
"""Bytes of a submission a second that its line is trusted with: images may take longer than `request_timeout`."""
log: logging.Logger = logging.getLogger("omgmj")


class Exchange:
    """Calls to one service through one limiter."""

    def __init__(
        self,
        transport: Transport,
        base_url: str,
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
        self._transport = transport
        self._base_url = base_url
        self._credentials = credentials
        self._limiter = limiter
        self._timeout = request_timeout
        self._retry = retry
        self._loop = loop
        self._out: set[_Bound] = set()
        self._closed: SessionClosed | None = None
        # One for all exchanges: a timer each costs CPU, and those that are cancelled pile up in the loop.
        self._timer = Timer(loop, self._sweep, self._crash)
        self._began, self._began_at = datetime.now(UTC), loop.time()

    async def call(self, request: Request, read: Callable[[Answer], T]) -> T:
        """Make a direct call: wait for a slot, exchange, repeat what is transient while the request allows it.

        `read` makes a value of the answer, never None, or raises.
        """
        failures = 0
        with self.open() as bound:
            while True:
                if not self._limiter.enter_at_once(self._loop.time()):
                    await self._limiter.enter()
                try:
                    value = await self._once(request, read, bound)
                    if value is not None:
                        return value
                    continue
                except OmgmjError as error:
                    failures += 1
                    again = meaning(error) in (Meaning.TRANSIENT, Meaning.PACED) and request.idempotent
                    if not again or failures >= self._retry.attempts:
                        raise
                    delay = self._retry.delay(failures, random.random(), getattr(error, "retry_after", None))
                finally:
                    self._limiter.leave()
                await asyncio.sleep(delay)
                self.retries += 1

    async def submit(self, draft: Draft) -> int:
        """Send what creates a task, and return the task's ID. It is sent again only where the service has not read it.

        That is where no connection was made, or the answer is 429. `SubmissionUncertain` where the answer was lost.
        """
        failures = 0
        with self.open() as bound:
            while True:
                if not self._limiter.enter_at_once(self._loop.time()):
                    await self._limiter.enter()
                passage = Passage()
                try:
                    return await self._submit_once(draft, bound, passage)
                except (RateLimited, TransportError) as error:
                    failures += 1
                    again = isinstance(error, RateLimited) or passage.fate is Fate.UNSENT
                    if not again or failures >= self._retry.attempts:
                        raise
                    delay = self._retry.delay(failures, random.random(), getattr(error, "retry_after", None))
                finally:
                    self._limiter.leave()
                await asyncio.sleep(delay)
                self.retries += 1

    async def _submit_once(self, draft: Draft, bound: _Bound, passage: Passage) -> int:
        """Send a submission once; what it raises, but `SubmissionUncertain`, says that there is surely no task."""
        sent = attrs.evolve(draft.submission, sent_at=self.clock())
        try:
            made = await self._once(draft.request, read_created, bound, passage)
        except asyncio.CancelledError:
            if passage.fate is Fate.SENT:
                log.warning(
                    "a submission was cut off after it had left, and may have made a task: %s", text(sent, whole=True)
                )
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
            f"it is not known whether this created a task, so look for it before you send it again (Session.reconcile):"
            f" {text(sent)}: {lost}",
            submission=sent,
        ) from lost

    def clock(self) -> datetime:
        """Return the time by this machine's clock as it was at the beginning, moved on by the event loop's."""
        return self._began + timedelta(seconds=self._loop.time() - self._began_at)

    async def once(self, request: Request, read: Callable[[Answer], T]) -> T | None:
        """Make one exchange, within `request_timeout`, for whoever holds a slot; `read` never returns None.

        Return None where the token was refused and there is a new one: the request wants to be sent again.
        """
        with self.open() as bound:
            return await self._once(request, read, bound)

    def open(self) -> _Bound:
        """Return a context whose block ends with `SessionClosed` when the session is closed, or is closed already."""
        if self._closed is not None:
            raise self._closed.about(None)
        return _Bound(self._out)

    def close(self, error: SessionClosed) -> None:
        """End all that is out with a copy of `error`, and let nothing begin any more."""
        self._closed = error
        for bound in list(self._out):
            bound.fire(error.about(None))
        self._timer.cancel()

    async def _once(
        self, request: Request, read: Callable[[Answer], T], bound: _Bound, passage: Passage | None = None
    ) -> T | None:
        try:
            sent_at = self._loop.time()
            bound.expires = sent_at + self._timeout + (len(request.body) / UPLOAD if passage else 0.0)
            self._timer.by(bound.expires)
            token = self._credentials.known or await self._credentials.current()
            self.queries += 1
            if passage is None:
                answer = await self._transport.send(self._base_url, request, token)
            else:
                passage.fate = Fate.SENT  # Unless the transport knows better.
                answer = await self._transport.send(self._base_url, request, token, passage)
            bound.expires = math.inf
            try:
                value = read(answer)
            except OmgmjError as refused:
                error = refused
            else:
                if self._credentials.renewals:
                    self._credentials.proved()
                self._limiter.rate.saw_success(self._loop.time())
                return value
            error = _masked(error, read, answer, token)
            del answer  # It may hold what was masked, and a traceback may show it.
            if passage is not None and is_refusal(error):
                passage.fate = Fate.REFUSED
            if await self._refused(error, token, sent_at, bound):
                return None
        except asyncio.CancelledError:
            meant = bound.meant()
            if meant is None:
                raise
            error = meant
        finally:
            bound.expires = math.inf
        # Raised out here, so that nothing of what was cut off hangs on it as its context.
        raise error

    async def _refused(self, error: OmgmjError, token: Secret, sent_at: float, bound: _Bound) -> bool:
        """Take in what an answer means to the rate and the token; return whether there is another token to try."""
        now = self._loop.time()
        if isinstance(error, RateLimited):
            self.rate_limited += 1
            self._limiter.rate.saw_429(sent_at, now, error.retry_after)
        elif isinstance(error, AuthError) and UNAUTHORIZED in (error.status, error.code):
            # A token callable may hang too.
            bound.expires = now + GRACE + self._timeout
            self._timer.by(bound.expires)
            return await self._credentials.renew(token, sent_at)
        elif not isinstance(error, ServiceError) or error.code is not None:
            self._limiter.rate.saw_success(now)
        return False

    def _sweep(self) -> None:
        now, wake = self._loop.time(), math.inf
        for bound in list(self._out):
            if bound.expires <= now + 1e-6:
                bound.fire(ExchangeTimeout(f"no answer within {self._timeout:g} s"))
            wake = min(wake, bound.expires)
        self._timer.by(wake)

    def _crash(self, error: Exception) -> None:
        """End all that is out, as nothing bounds it any more."""
        for bound in list(self._out):
            bound.fire(crashed(error))


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


class _Bound:
    """Ends what a task awaits from outside, as `asyncio.timeout` does, but without a timer of its own.

    It stands in `out` until its block ends. A `CancelledError` that nobody asked for, neither this nor whoever cancels
    the task, leaves the block as a `TransportError`: what was awaited below was cancelled by others.
    """

    __slots__ = ("_cancelling", "_error", "_out", "_task", "expires")

    def __init__(self, out: set[_Bound]) -> None:
        task = asyncio.current_task()
        if task is None:
            raise UsageError("omgmj must be awaited in an asyncio task")
        self.expires: float = math.inf
        self._out = out
        self._task = task
        self._cancelling = task.cancelling()
        self._error: OmgmjError | None = None
        out.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Let go of the task; raise the error that was meant where it was cancelled for that."""
        self._out.discard(self)
        if kind is not None and issubclass(kind, asyncio.CancelledError):
            if (error := self.meant()) is not None:
                try:
                    raise error
                finally:
                    error.__context__ = None  # Nothing of what was cut off is to hang on it.
        elif self._error is not None:
            self._task.uncancel()  # It fired, and something swallowed the cancellation.

    def fire(self, error: OmgmjError) -> None:
        """Have the task's await end with `error`."""
        if self._error is None:
            self._error = error
            self.expires = math.inf
            self._task.cancel()

    def meant(self) -> OmgmjError | None:
        """In `except CancelledError`: return the error that is meant; None where somebody cancelled the task."""
        error, self._error = self._error, None
        asked = self._task.uncancel() if error is not None else self._task.cancelling()
        if asked > self._cancelling:
            return None
        return error or TransportError(FROM_BELOW)
