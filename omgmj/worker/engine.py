"""A worker, on docket: one perpetual job an account, which docket hands to one worker and again after its death.

All that is known of docket stands here. The job runs for as long as its worker leads; docket renews its hold on the
message. Whoever takes over waits for the lease, which is what decides who leads. docket ends its jobs before it
reconnects to a Redis that came back, so the job ends by itself when Redis is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs
from docket import Docket, Perpetual
from docket import Worker as DocketWorker
from redis.exceptions import RedisError

from omgmj import log
from omgmj.base_url import choose_base_url
from omgmj.client.aiohttp_adapter import HttpTransport
from omgmj.client.credentials import Token
from omgmj.client.proxies import Proxies
from omgmj.errors import AuthError, QueueError, UsageError
from omgmj.session import Session
from omgmj.validation import check_rate, check_seconds
from omgmj.worker.connection import connect
from omgmj.worker.leader import STALL, Leader, cancel_all
from omgmj.worker.lease import Lease, LeasedTransport
from omgmj.worker.queue import check_name
from omgmj.worker.shares import declines, gives_up
from omgmj.worker.storage import Away, LeaseLost
from omgmj.worker.store import Store

LEASE = 15.0
"""Seconds in which another worker leads after one has died."""
_HELD = 1 / 2
"""Part of that for which the lease itself, and docket's hold on a job, last; the rest goes by until this is noticed."""
REFUSED_FOR = 60.0
"""Seconds after which one leads again whose token, or whose results, were refused."""
LOOKED_EVERY = 2.0
"""Seconds after which a worker looks who leads."""


@attrs.frozen
class Standing:
    """How a worker stands to an account: it `leads` or stands by, `since` a Unix time; `leader` is who leads."""

    account: str
    leads: bool
    since: float
    leader: str | None = None
    watched: int = 0


class Worker:
    """A worker: it leads accounts or stands by, until it is stopped.

    `accounts` are the tokens by the accounts' names. Any number of workers may run; each account has one leader, which
    sends at most `rate` requests a second. Another one leads at most about `lease` seconds after a leader has died.
    """

    def __init__(
        self,
        url: str,
        accounts: Mapping[str, Token],
        *,
        base_url: str | Sequence[str] | None = None,
        rate: float = 20.0,
        lease: float = LEASE,
        stall: float | None = STALL,
        on_change: Callable[[Standing], object] | None = None,
    ) -> None:
        """Check the arguments; nothing is opened yet. Raise `UsageError`."""
        if not accounts:
            raise UsageError("a worker needs an account to work for: its name, and its token")
        self._url = url
        self._redis = connect(url)
        self._rate = check_rate("rate", rate)
        self._lease = check_seconds("lease", lease)
        if self._lease < 3:
            raise UsageError("lease must be at least 3 seconds, or a short pause costs the lead")
        self._base_url = choose_base_url(base_url)
        self._stall = check_seconds("stall", stall, none=True)
        self._on_change = on_change or (lambda _: None)
        self.name: str = f"{socket.gethostname()}#{os.getpid()}.{secrets.token_hex(3)}"
        self._accounts = {
            check_name("account", name): _Account(name, token, Store(self._redis, name))
            for name, token in accounts.items()
        }
        for account in self._accounts.values():
            self._session(account)  # What is wrong with a token is told now.
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Work until `stop`; then hand over what is led. Raise `QueueError` where Redis cannot be reached at first."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._redis.aclose)
            for account in self._accounts.values():
                await account.store.ping()
            runs = []
            for account in self._accounts.values():
                docket = await stack.enter_async_context(
                    Docket(
                        name=f"{account.store.prefix}:docket",
                        url=_with_connections(self._url),
                        # So that a worker that died is none that may lead by the time that its lease is free.
                        heartbeat_interval=timedelta(seconds=min(2.0, self._lease * _HELD / 5)),
                        missed_heartbeats=5,
                        execution_ttl=timedelta(0),
                    )
                )
                account.docket = docket
                docket.register(self._job(account, docket), names=["lead"])
                worker = DocketWorker(
                    docket,
                    name=self.name,
                    concurrency=len(self._accounts) + 4,
                    redelivery_timeout=timedelta(seconds=self._lease * _HELD),
                    reconnection_delay=timedelta(seconds=1),
                )
                await stack.enter_async_context(worker)
                runs.append(asyncio.create_task(worker.run_forever(), name=f"omgmj worker {account.name}"))
                self._tell(account, leader=await account.store.holder())
            looks = asyncio.create_task(self._look(), name="omgmj worker look")
            stopped = asyncio.create_task(self._stop.wait())
            jobs: list[asyncio.Task[Any]] = [*runs, looks, stopped]
            try:
                await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
            finally:
                # The jobs end first, as docket waits for them; and it takes no new ones after its cancellation.
                self.stop()
                for job in jobs:
                    job.cancel()
                ended = await asyncio.gather(*jobs, return_exceptions=True)
        for end in ended:
            if isinstance(end, Exception):
                raise end

    def stop(self) -> None:
        """Have `run` end soon: what is in hand is written, and what is led is handed over."""
        self._stop.set()
        for account in self._accounts.values():
            account.end.set()

    @property
    def standings(self) -> tuple[Standing, ...]:
        """How this worker stands to each of its accounts."""
        return tuple(
            attrs.evolve(account.standing, watched=account.leader.watched if account.leader else 0)
            for account in self._accounts.values()
            if account.standing is not None
        )

    def _job(self, account: _Account, docket: Docket) -> Callable[..., Awaitable[None]]:
        async def lead(perpetual: Perpetual = Perpetual(every=timedelta(seconds=1), automatic=True)) -> None:  # noqa: B008
            pause = await self._lead(account, docket)
            perpetual.after(timedelta(seconds=pause))

        return lead

    async def _lead(self, account: _Account, docket: Docket) -> float:
        """Lead an account, when it is this worker's turn; return the seconds after which the job is to run again."""
        async with account.turn:
            account.end.clear()  # Before it is asked whether all is to end, and nothing in between.
            if self._stop.is_set() or time.monotonic() < account.refused_until:
                return 1.0
            if declines(self._leads(), await self._others(docket)):
                return 1.0
            lease = Lease(account.store, self.name, self._lease * _HELD)
            if not await _unless(account.end, lease.take()):
                with contextlib.suppress(QueueError):
                    await lease.release()  # It may have been taken in that moment.
                return 1.0
            session = self._session(account, lease)
            account.leader = leader = Leader(account.store, session, lease, stall=self._stall)
            self._tell(account, leader=self.name)
            try:
                async with session:
                    await leader.run(account.end)
            except AuthError as error:
                log.leader_refused(account.name, error)
                account.refused_until = time.monotonic() + REFUSED_FOR
            except Away:
                raise  # docket reconnects when its jobs have ended.
            except LeaseLost as error:
                log.leader_ended(account.name, error)
            except QueueError as error:
                # A next leader asks for all that is pending: not at once again, where each would be refused.
                log.leader_ended(account.name, error)
                return REFUSED_FOR
            finally:
                account.leader = None
                self._tell(account, leader=None)
                with contextlib.suppress(QueueError):  # Then it runs out.
                    await lease.release()
            return 1.0

    def _session(self, account: _Account, lease: Lease | None = None) -> Session:
        transport = None
        if lease is not None:
            loopback = self._base_url.is_loopback
            own = HttpTransport(None, loopback=loopback, proxies=Proxies.of_environment())
            transport = LeasedTransport(own, lease)
        return Session(account.token, base_url=self._base_url.urls, rate=self._rate, outage=None, transport=transport)

    async def _look(self) -> None:
        """Look who leads, again and again; hand over an account where another worker leads less."""
        while True:
            await asyncio.sleep(LOOKED_EVERY)
            for account in self._accounts.values():
                if account.leader is None:
                    with contextlib.suppress(QueueError):
                        self._tell(account, leader=await account.store.holder())
            for account in self._accounts.values():
                if account.leader is not None and account.docket is not None:
                    with contextlib.suppress(QueueError, RedisError):
                        if gives_up(self._leads(), await self._others(account.docket)):
                            account.end.set()
                            break

    def _leads(self) -> int:
        return sum(account.leader is not None for account in self._accounts.values())

    async def _others(self, docket: Docket) -> dict[str, int]:
        """Return how many of our accounts each other worker leads that can lead this one."""
        others = {worker.name: 0 for worker in await docket.workers() if worker.name != self.name}
        for each in self._accounts.values():
            if (holder := await each.store.holder()) in others:
                others[holder] += 1
        return others

    def _tell(self, account: _Account, *, leader: str | None) -> None:
        before = account.standing
        if before is None or before.leader != leader:
            account.standing = Standing(account.name, leader == self.name, time.time(), leader)
            self._on_change(account.standing)


@attrs.define(eq=False)
class _Account:
    """An account as this worker has it."""

    name: str
    token: Token = attrs.field(repr=False)
    store: Store
    docket: Docket | None = None
    leader: Leader | None = None
    standing: Standing | None = None
    refused_until: float = -math.inf
    """The token was refused; by this machine's monotonic clock."""
    turn: asyncio.Lock = attrs.field(factory=asyncio.Lock)
    """Of jobs: one leads at a time."""
    end: asyncio.Event = attrs.field(factory=asyncio.Event)
    """The one that leads is to end."""


async def _unless(end: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do the work, unless `end` comes first; return whether it was done."""
    ended, doing = asyncio.create_task(end.wait()), asyncio.create_task(work)
    try:
        await asyncio.wait((ended, doing), return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            doing.result()
        return doing.done()
    finally:
        await cancel_all((ended, doing))


def _with_connections(url: str) -> str:
    """Return docket's URL of Redis: with a bound of connections, where it has none."""
    parts = urlsplit(url)
    if "max_connections" in parse_qs(parts.query):
        return url
    return parts._replace(query="&".join(filter(None, (parts.query, "max_connections=50")))).geturl()
