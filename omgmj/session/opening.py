"""A session as it is opened and closed: its arguments, checked, and the parts that they come to."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Self

import omgmj  # The type of `http` is aiohttp's, which annotations find by way of the package, imported lazily.
from omgmj.backoff.policies import Adaptive, Policy, Retry, check_policy
from omgmj.base_url import BaseUrl, check_trusted_hosts, choose_base_url
from omgmj.client.credentials import Credentials, Token
from omgmj.client.proxies import NO_PROXIES, Proxies
from omgmj.engine import Engine
from omgmj.errors import SessionClosed, UsageError
from omgmj.journal.journal import Journal
from omgmj.learned import check_path
from omgmj.stats import Stats, stats_of
from omgmj.validation import check_count, check_rate, check_seconds

OUTAGE = 86_400.0


class Opening:
    """What a session is told, and its parts; they are built at the first use, in the event loop of that."""

    # Of a session whose arguments were refused, for whoever shows it.
    _base_url: BaseUrl = BaseUrl("(not made)")
    _closed: bool = False

    def __init__(
        self,
        token: Token | None = None,
        *,
        base_url: str | Sequence[str] | None = None,
        request_timeout: float = 30.0,
        max_in_flight: int = 64,
        rate: float = 20.0,
        backoff: Policy | None = None,
        retry: Retry | None = None,
        outage: float | None = OUTAGE,
        sweeps: bool = True,
        environment_proxy: bool = True,
        trusted_hosts: Iterable[str] = (),
        journal: Journal | None = None,
        learned: str | os.PathLike[str] | None = None,
        http: omgmj.Http | None = None,
        transport: omgmj.Transport | None = None,
    ) -> None:
        """Check the arguments; nothing is opened before the first use."""
        try:
            credentials = Credentials(os.environ.get("OMGMJ_TOKEN", "") if token is None else token)
        finally:
            del token  # Who shows the variables of a traceback shows no token.
        if http is not None and transport is not None:
            raise UsageError("http and transport exclude each other")
        if transport is not None and not callable(getattr(transport, "send", None)):
            raise UsageError(f"transport must have send, stream, aclose and limit; {type(transport).__name__} has not")
        if retry is not None and not isinstance(retry, Retry):
            raise UsageError(f"retry must be an omgmj.Retry, not {type(retry).__name__}")
        kept = check_path(learned)
        if kept is not None and kept == check_path(getattr(journal, "path", None)):
            raise UsageError("journal and learned must be two files")
        self._base_url = choose_base_url(base_url, check_trusted_hosts(trusted_hosts))
        self._rate = check_rate("rate", rate)
        self._backoff = check_policy(backoff, Adaptive())
        own = http is None and transport is None
        proxies = Proxies.of_environment() if own and environment_proxy else NO_PROXIES
        for url in self._base_url.urls:
            proxies.by(url)  # One that cannot be used is refused here.
        self._build = partial(
            Engine.build,
            base_url=self._base_url,
            credentials=credentials,
            request_timeout=check_seconds("request_timeout", request_timeout),
            max_in_flight=check_count("max_in_flight", max_in_flight),
            rate=self._rate,
            retry=retry or Retry(),
            outage=check_seconds("outage", outage, none=True),
            sweeps=sweeps,
            proxies=proxies,
            http=http,
            transport=transport,
            journal=journal,
            learned=kept,
        )
        self._engine: Engine | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<omgmj.Session {self._base_url}{' (closed)' if self._closed else ''}>"

    async def __aenter__(self) -> Self:
        keeper = self._open().keeper
        if keeper is not None:
            try:
                await keeper.settled()
            except BaseException:
                await self.aclose()  # Nobody leaves what was not entered.
                raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections, cancel all requests in flight, and end every wait with `SessionClosed`.

        Raise `UsageError` in another event loop than the session's. To close twice is no error.

            await session.aclose()
        """
        if self._engine is not None and self._engine.loop is not _running_loop():
            raise _foreign_loop()
        self._closed = True
        if self._engine is not None:
            await self._engine.aclose()

    def stats(self) -> Stats:
        """Return what this session has done and is doing.

        `pace` is in requests a second. It raises nothing.

            print(session.stats().in_flight)
        """
        if self._engine is None:
            return Stats(queries=0, retries=0, rate_limited=0, pace=self._rate, watched=0, in_flight=0, overdue=0)
        return stats_of(self._engine)

    def _open(self) -> Engine:
        if self._closed:
            raise SessionClosed("this session is closed; make a new one")
        engine = self._engine
        here = _running_loop()
        if engine is None:
            if here is None:
                raise UsageError(
                    "a session is used inside a running event loop of asyncio, such as by asyncio.run; trio has none"
                )
            engine = self._engine = self._build(here)
        elif engine.loop is not here:
            raise _foreign_loop()
        return engine


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _foreign_loop() -> UsageError:
    return UsageError("this session belongs to the event loop in which it was first used; make one for each loop")
