"""What a user holds: one account's session, each method a few lines over the layers below."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self

from omgmj import protocol
from omgmj.backoff import Adaptive, Policy, Retry, check_count, check_rate, check_seconds
from omgmj.credentials import Credentials, Token
from omgmj.errors import OmgmjError, SessionClosed, UsageError
from omgmj.exchange import Exchange, check_base_url
from omgmj.gate import Gate
from omgmj.models import Stats, Task, TaskPage
from omgmj.pace import Pace
from omgmj.pages import Tasks
from omgmj.poller import Poller
from omgmj.protocol import Answer
from omgmj.wait import Follow, Terms, wait_for
from omgmj.watch import TaskIds, Watch

if TYPE_CHECKING:
    from omgmj.transport import Http, Transport

BASE_URL = "https://cn2us02.opapi.win"
STALL = 3600.0


class Session:
    """A client of one account: looks at tasks, and waits for them on one budget of requests.

    `token` is a string, or a callable (sync or async) that returns one and is asked again after a 401; None takes
    `OMGMJ_TOKEN` from the environment. `base_url` None takes `OMGMJ_BASE_URL`, else the public host; https only, save
    for loopback. `request_timeout` bounds one HTTP exchange, in seconds, from when it may start. At most
    `max_in_flight` requests are out at once and at most `rate` a second start, fewer after a 429. `backoff` says when
    to look again at a task, `retry` after a failed request.

    `http` is an `aiohttp.ClientSession` to borrow, which stays open, or a callable that makes one, closed with this
    session: the place for a proxy, a CA or a client certificate. `transport` replaces HTTP altogether.

    Use it as `async with Session(…)`, or call `aclose` when done, from any task. It belongs to the event loop in which
    it is first used. Wrong arguments raise `UsageError`.
    """

    def __init__(
        self,
        token: Token | None = None,
        *,
        base_url: str | None = None,
        request_timeout: float = 30.0,
        max_in_flight: int = 64,
        rate: float = 20.0,
        backoff: Policy | None = None,
        retry: Retry | None = None,
        http: Http | None = None,
        transport: Transport | None = None,
    ) -> None:
        """Check the arguments; nothing is opened before the first use."""
        if http is not None and transport is not None:
            raise UsageError("http and transport exclude each other")
        if retry is not None and not isinstance(retry, Retry):
            raise UsageError(f"retry must be an omgmj.Retry, not {type(retry).__name__}")
        self._credentials = Credentials(os.environ.get("OMGMJ_TOKEN", "") if token is None else token)
        self._base_url = check_base_url(os.environ.get("OMGMJ_BASE_URL") or BASE_URL if base_url is None else base_url)
        self._request_timeout = check_seconds("request_timeout", request_timeout)
        self._max_in_flight = check_count("max_in_flight", max_in_flight)
        self._rate = check_rate("rate", rate)
        self._backoff = _check_policy(backoff, Adaptive())
        self._retry = retry or Retry()
        self._http = http
        self._given_transport = transport
        self._engine: _Engine | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<omgmj.Session {self._base_url}{' (closed)' if self._closed else ''}>"

    async def __aenter__(self) -> Self:
        self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Cancel all requests that are out, give everyone who waits `SessionClosed`, and close the connections."""
        if self._engine is not None and self._engine.loop is not _running_loop():
            raise _foreign_loop()
        self._closed = True
        if self._engine is not None:
            await self._engine.aclose()

    async def query(self, task_id: int | str) -> Task:
        """Return the task's record as it is now, by a request of its own.

        What is transient is tried again, by the session's `retry`. Raise `TaskNotFound`, `AuthError`, `RateLimited` or
        `ServiceError` where the service says no, `DecodeError` where its answer cannot be read, `TransportError` or
        `ExchangeTimeout` where there was none.
        """
        asked = protocol.check_task_id(task_id)
        engine = self._open()

        def read(answer: Answer) -> tuple[Task, Answer]:
            return protocol.read_query(answer, asked), answer

        try:
            task, answer = await engine.exchange.call(protocol.query_request(asked), read)
        except OmgmjError as error:
            error.task_id = asked
            raise
        engine.poller.feed(task, protocol.age(task.started_at, answer) if engine.poller.watched else None)
        return task

    async def wait(
        self,
        task_id: int | str,
        *,
        timeout: float | None = None,
        stall: float | None = STALL,
        backoff: Policy | None = None,
    ) -> Task:
        """Look at the task again and again until it is done; return its final record, success or failure alike.

        Raise `WaitTimeout` after `timeout` seconds (0: after one look; None: never), `Stalled` after `stall` seconds
        of successful looks without any change, `GaveUp` where the policy says stop, `TaskNotFound` and `ServiceError`
        where the service says no to this ID again and again, `AuthError` where it does not take the token. Failures in
        passing, and an outage of the service, are waited out; an ID that alone fails for ten minutes is given up with
        its last error, and so is one whose record cannot be read (`DecodeError`).
        """
        checked = protocol.check_task_id(task_id)
        terms = self._terms(timeout, stall, backoff)
        return await wait_for(self._open().poller, checked, terms)

    def watch(
        self,
        task_ids: TaskIds,
        *,
        timeout: float | None = None,
        stall: float | None = STALL,
        backoff: Policy | None = None,
        on_error: Callable[[OmgmjError], object] | None = None,
        max_watched: int | None = None,
    ) -> Watch:
        """Wait for many tasks: an async iterator of their final records, in the order they finish.

        `task_ids` is an iterable, a mapping of ID to a context of yours (`Watch.context`), or an async iterable, which
        may be endless. `timeout` and `stall` are those of `wait`, for each ID from when it was taken in. IDs that come
        to no end are raised at the end as `WatchErrors`, or given to `on_error`, a plain function, one by one.
        `max_watched` bounds how many IDs are taken in at once, those whose records were not fetched yet included: all
        at once unless said otherwise, 10,000 of an async iterable.
        """
        terms = self._terms(timeout, stall, backoff)
        return Watch(self._open().poller, task_ids, terms, on_error=on_error, max_watched=max_watched)

    def follow(
        self,
        task_id: int | str,
        *,
        timeout: float | None = None,
        stall: float | None = STALL,
        backoff: Policy | None = None,
    ) -> Follow:
        """Wait for one task and see each change of it: an async iterator of records, the final one last.

        Its arguments and errors are those of `wait`.
        """
        checked = protocol.check_task_id(task_id)
        terms = self._terms(timeout, stall, backoff)
        return Follow(self._open().poller, checked, terms)

    async def page(self, number: int = 1, size: int = 20) -> TaskPage:
        """Return a page of the account's tasks, newest first: page `number`, from 1, of pages of 5 to 20.

        One direct call, with the errors of `query`. A page beyond the end is empty. Tasks that are made between two
        calls push others to later pages; `tasks` hides that.
        """
        number, size = protocol.check_page(number), protocol.check_size(size)
        engine = self._open()

        def read(answer: Answer) -> tuple[TaskPage, Answer]:
            return protocol.read_page(answer, number, size), answer

        page, answer = await engine.exchange.call(protocol.page_request(number, size), read)
        for task in page.tasks:
            engine.poller.feed_listed(task, answer)
        return page

    def tasks(self, *, size: int = 20) -> Tasks:
        """Return an async iterator over all tasks of the account, newest first, each once, by pages of `size`.

        Tasks that are made while it is read make none slip past, nor come twice; they come themselves only where they
        were seen on a later page. Its errors are those of `page`; a record that cannot be read is a `DecodeError` with
        its place on the page and, where it has one, its ID. Leave it whenever you like.
        """
        checked = protocol.check_size(size)
        self._open()
        return Tasks(self.page, checked)

    def notify(self, payload: Mapping[str, Any] | bytes | str) -> None:
        """Take a webhook's body as a hint to look at its task once more, at most once a second.

        It proves nothing, and is ignored where nobody waits for the task. A body without a task's ID is a
        `UsageError`.
        """
        task_id = protocol.read_hint(payload)
        self._open().poller.push(task_id)

    def stats(self) -> Stats:
        """Return what this session has done and is doing."""
        engine = self._engine
        if engine is None:
            return Stats(queries=0, retries=0, rate_limited=0, pace=self._rate, watched=0, in_flight=0, overdue=0)
        exchange = engine.exchange
        return Stats(
            queries=exchange.queries,
            retries=exchange.retries,
            rate_limited=exchange.rate_limited,
            pace=engine.gate.pace.limit,
            watched=engine.poller.watched,
            in_flight=engine.gate.in_flight,
            overdue=engine.poller.overdue(),
            sweeps=engine.poller.sweeps,
            swept=engine.poller.swept,
            swept_used=engine.poller.swept_used,
            late=engine.poller.late,
        )

    def _terms(self, timeout: float | None, stall: float | None, backoff: Policy | None) -> Terms:
        return Terms(
            _check_policy(backoff, self._backoff),
            check_seconds("timeout", timeout, zero=True, none=True),
            check_seconds("stall", stall, none=True),
        )

    def _open(self) -> _Engine:
        if self._closed:
            raise SessionClosed("this session is closed; make a new one")
        engine = self._engine
        here = _running_loop()
        if engine is None:
            if here is None:
                raise UsageError("a session is used inside a running event loop, such as by asyncio.run")
            engine = self._engine = self._build(here)
        elif engine.loop is not here:
            raise _foreign_loop()
        return engine

    def _build(self, loop: asyncio.AbstractEventLoop) -> _Engine:
        transport = self._given_transport
        if transport is None:
            # Not before it is needed: aiohttp takes longer to import than all the rest.
            from omgmj.transport import HttpTransport  # noqa: PLC0415

            transport = HttpTransport(self._http, max_in_flight=self._max_in_flight)
        limit = transport.limit
        places = self._max_in_flight if limit is None else min(limit, self._max_in_flight)
        gate = Gate(Pace(self._rate, loop.time()), places, loop)
        exchange = Exchange(
            transport,
            self._base_url,
            self._credentials,
            gate,
            request_timeout=self._request_timeout,
            retry=self._retry,
            loop=loop,
        )
        return _Engine(loop, transport, gate, exchange, Poller(exchange, gate, self._retry, loop))


class _Engine:
    """The parts of a session that live in its event loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        transport: Transport,
        gate: Gate,
        exchange: Exchange,
        poller: Poller,
    ) -> None:
        self.loop = loop
        self.transport = transport
        self.gate = gate
        self.exchange = exchange
        self.poller = poller

    async def aclose(self) -> None:
        closed = SessionClosed("the session was closed")
        self.gate.close()
        self.exchange.close(closed)
        try:
            await self.poller.aclose(closed)
        finally:
            await self.transport.aclose()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _foreign_loop() -> UsageError:
    return UsageError("this session belongs to the event loop in which it was first used; make one for each loop")


def _check_policy(policy: Policy | None, default: Policy) -> Policy:
    if policy is None:
        return default
    if not callable(policy) or isinstance(policy, type):
        raise UsageError(f"backoff must be a policy such as omgmj.Adaptive(), not {policy!r}")
    return policy
