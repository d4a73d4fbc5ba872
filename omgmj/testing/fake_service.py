"""The service make-believe, for tests: in memory or on a loopback port, in virtual or in real time.

    async with FakeService(tasks=3) as fake, fake.session() as session:
        async for task in session.watch(fake.task_ids):
            print(task.id, task.status)

Tasks live by the event loop's own clock: under a virtual clock (looptime) a life of ten minutes is over at once, on a
plain loop it takes ten minutes (`lives="short"`: some seconds). Requests make tasks too (imagine, action, blend,
describe). What is answered is decided in `simulator`, lives are made in `lives`, `FAULTS` lists what can be made to go
wrong, and `http_server` serves.

Requests are taken to the letter of the service's contract, as forms or as JSON, with these exceptions, since public
clients send them so: multipart bodies; fields that need not be there and are empty or null; a list of images as
`base64Array[]` or `base64Array[0]`, or as one field with commas between or with a list in JSON; a `token` field in a
multipart blend; an image's declared type that is not its true one.
"""

from __future__ import annotations

import asyncio
import base64
import ssl as tls
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Self
from urllib.parse import urlsplit

import omgmj  # The session stands below, but who serves on loopback needs none: annotations find it lazily.
from omgmj import log
from omgmj.errors import TransportError, UsageError
from omgmj.testing.http_server import HttpServer
from omgmj.testing.memory_transport import InMemoryTransport, act_in_memory
from omgmj.testing.service.account import Created
from omgmj.testing.service.faults import Fault, FaultShares
from omgmj.testing.service.lives import Life, Lives, check_number
from omgmj.testing.service.simulator import EPOCH, Reply, Simulator
from omgmj.testing.webhook_sender import WebhookSender
from omgmj.validation import check_token, is_loopback

USUAL_TOKEN = "t"  # noqa: S105 (a make-believe one)
IN_MEMORY = "https://fake.invalid"
"""The base URL of sessions in memory; such a host can never exist."""
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
"""A small image to send: a PNG of one pixel. Each task has a larger one of its own, see `FakeService.image`."""


class FakeService:
    """OhMyGPT's Midjourney service make-believe. Use it as `async with FakeService(…) as fake`.

    - `tasks`: how many tasks there are from the beginning, with lives drawn from `lives` (`"fast"`, `"mix"`, `"short"`
      or a `Lives`) by `seed`; `failing` of them fail, the others succeed.
    - `rate`, `burst`, `retry_after`: its own limiter, a token bucket in requests a second. Above it the answer is 429,
      with `Retry-After` in seconds where that is given. None: no limit.
    - `token`: the token that is accepted; see `tokens`.
    - `faults`: the share of requests that each fault of `FAULTS` befalls, such as `{"html_502": 0.02}`; a `Fault`
      instead of the name gives particulars. `inject` asks for faults one by one.
      A fault that refuses a request that makes a task (429, 4xx, 5xx, `code_400`) makes none; any other befalls the
      answer, when the task has been made. While the service is down nothing is made.
    - `foreign_share`: which share of the tasks are others of the account, that nobody watches. They are mixed in as
      tasks are made, now and later, and do not stand in `task_ids`; see also `add_foreign`.
    - `list_lag`: the list of tasks shows each as it was so many seconds ago; see `list_lag` below.
    - `latency`: seconds that each answer takes, half before the request is looked at and half after.
    - `variants`: how records are told otherwise than in the contract's example, by names of `VARIANTS`; none by
      default. `add_task` takes them for one task.
    - `epoch`: what its clock shows when it is entered. The times in records and the `Date` header go by it.

    A task that a request makes stands in `created` and `task_ids` and has a drawn life, save that a prompt with a word
    of `BANNED` fails after a second and an `Inpaint` without a mask stays `MODAL`; `plan` scripts lives. An action is
    taken for a task in SUCCESS that offers it, in the task's own pool. The image of each task is a PNG of its own: a
    grid of four, and for an UPSCALE one picture of its parent's four.

    A task with a webhook on loopback has its record posted there at each moment of its life, some 0.3 s late, in no
    promised order, and never again. Webhooks anywhere else are not called. `webhooks` counts.

    Anything misused is a `UsageError`.
    """

    def __init__(
        self,
        *,
        tasks: int = 0,
        lives: str | Lives = "fast",
        seed: int = 0,
        failing: int = 0,
        rate: float | None = None,
        burst: int = 20,
        retry_after: int | None = None,
        token: str = USUAL_TOKEN,
        faults: FaultShares | None = None,
        foreign_share: float = 0.0,
        list_lag: float = 0.0,
        latency: float = 0.0,
        variants: Iterable[str] = (),
        epoch: datetime = EPOCH,
    ) -> None:
        self._simulator = Simulator(
            lives=lives,
            seed=seed,
            tokens=[token],
            rate=rate,
            burst=burst,
            retry_after=retry_after,
            faults=faults,
            foreign_share=foreign_share,
            list_lag=list_lag,
            variants=variants,
            epoch=epoch,
        )
        self.token: str = check_token(token)
        """The token that `session` uses unless told otherwise."""
        self._latency = check_number("latency", latency)
        self._simulator.add_tasks(tasks, now=0.0, failing=failing)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = 0.0
        self._is_open = False
        self._sender = WebhookSender(self._simulator.webhook_calls, lambda: self._simulator.webhooks.next_at)
        self._server: HttpServer | None = None
        self._url: str | None = None
        self._in_flight = 0
        self.in_flight_peak: int = 0
        """The most requests that were being answered at once."""
        self.downloads: Counter[int] = Counter()
        """How often each task's image was fetched; such a fetch is none of `requests`."""

    async def __aenter__(self) -> Self:
        if self._loop is not None:
            raise UsageError("a FakeService is entered once only; make another")
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._is_open = True
        self._sender.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop serving and calling webhooks; what is silent or slow is cut off at once."""
        self._is_open = False
        await self._sender.stop()
        if self._server:
            await self._server.stop()

    # What there is, and what has come.

    @property
    def now(self) -> float:
        """Seconds since the service was entered; 0 before."""
        return self._loop.time() - self._started if self._loop else 0.0

    @property
    def task_ids(self) -> list[int]:
        """The IDs of all tasks but foreign ones, in the order they were made."""
        return [task_id for task_id in self._simulator.tasks if task_id not in self._simulator.foreign]

    @property
    def foreign_ids(self) -> list[int]:
        """The IDs of foreign tasks, in the order they were made."""
        return list(self._simulator.foreign)

    @property
    def tokens(self) -> set[str]:
        """The tokens that are accepted. Change the set while the service runs to see a token rotated."""
        return self._simulator.tokens

    @property
    def requests(self) -> int:
        """How many requests came, whatever became of them."""
        return self._simulator.requests

    @property
    def asked(self) -> Counter[int]:
        """How often each ID was asked for, in requests that were let through and not refused."""
        return self._simulator.asked

    @property
    def pages(self) -> Counter[int]:
        """How often each page of the list was asked for, in requests that were let through and not refused."""
        return self._simulator.pages

    @property
    def created(self) -> list[Created]:
        """What requests made, in that order, whether the answers arrived or not."""
        return self._simulator.created

    @property
    def refused(self) -> list[str]:
        """Why requests were refused, such as a form that is not to the letter. A token never stands here."""
        return self._simulator.refused

    @property
    def injected(self) -> Counter[str]:
        """How often each fault was acted out; requests that came during an outage count as `outage`."""
        return self._simulator.injected

    @property
    def webhooks(self) -> Counter[str]:
        """How many calls to webhooks were `delivered` or `failed`, and how many tasks have one `elsewhere`.

        Elsewhere is anywhere but on loopback: there nothing is sent. Calls lost by a fault stand in `injected`.
        """
        return self._sender.sent + Counter(elsewhere=self._simulator.webhooks.elsewhere)

    @property
    def limited(self) -> int:
        """How many requests the service's own limiter turned away."""
        return self._simulator.limited

    @property
    def times(self) -> list[float]:
        """When each request came, in seconds as `now`."""
        return self._simulator.times

    # What is done to it.

    def add_task(
        self,
        life: Life | None = None,
        *,
        task_id: int | None = None,
        prompt: str = "a cat in the rain --ar 16:9",
        kind: str = "IMAGINE",
        pool: str = "NORMAL",
        unknown_for: float = 0.0,
        webhook: str | None = None,
        variants: Iterable[str] | None = None,
    ) -> int:
        """Make a task now and return its ID; without a `life` one is drawn.

        `kind` is the record's `action`, `pool` its `taskType`. For `unknown_for` seconds the service does not know
        the ID yet. Its record is posted to `webhook`, if that is on loopback. `variants` are instead of the service's.
        """
        made = self._simulator.add_task(
            life,
            now=self.now,
            task_id=task_id,
            prompt=prompt,
            kind=kind,
            pool=pool,
            unknown_for=unknown_for,
            webhook=webhook,
            variants=variants,
        )
        self._sender.wake()
        return made

    def image(self, task_id: int) -> bytes:
        """Return the image of a task as it will be in the end, a PNG."""
        task = self._simulator.tasks.get(task_id)
        if task is None or task.kind == "DESCRIBE":
            raise UsageError(f"there is no task {task_id!r} with an image")
        return task.draw()

    def add_tasks(self, count: int, *, failing: int = 0) -> list[int]:
        """Make `count` tasks now, with drawn lives, `failing` of which fail; return their IDs."""
        return self._simulator.add_tasks(count, now=self.now, failing=failing)

    def add_foreign(self, count: int = 1) -> list[int]:
        """Make `count` tasks of the account now that nobody watches; return their IDs."""
        return self._simulator.add_foreign(count, now=self.now)

    def plan(self, life: Life | None = None, *, unknown_for: float = 0.0) -> None:
        """Let the next task that a request makes live so, whatever was asked for; None: as without a plan.

        For `unknown_for` seconds the service does not know its ID. Plans are used one after the other.
        """
        self._simulator.plan(life, unknown_for=unknown_for)

    def inject(self, fault: str | Fault, *, times: int | None = 1, task_id: int | Iterable[int] | None = None) -> None:
        """Let a fault befall the next `times` requests, or so many queries of each `task_id`; None: until `heal`.

        Faults that are asked for one after the other happen one after the other. One that cannot happen yet, such as
        `backwards` for a task in its first state, waits until it can. Those that are kept to one kind of call, such as
        `Fault("drop_before_headers", only="submissions")`, are a row of their own.
        """
        self._simulator.inject(fault, times=times, task_id=task_id)

    def trouble(
        self,
        fault: str | Fault,
        *,
        seconds: float | None = None,
        after: float = 0.0,
        task_id: int | Iterable[int] | None = None,
    ) -> None:
        """Let a fault befall all for `seconds`, from `after` seconds from now; None: until `heal`.

        All are the requests that it can befall: `Fault("rate_limited", only="pages")` is the list's trouble alone, and
        with `task_id`, one or several, it is that of queries of those. It comes before what `inject` asked for.
        """
        self._simulator.trouble(fault, now=self.now, seconds=seconds, after=after, task_id=task_id)

    @property
    def list_lag(self) -> float:
        """How many seconds the list lags behind: it shows each task as it was then, and none that is younger."""
        return self._simulator.list_lag

    @list_lag.setter
    def list_lag(self, seconds: float) -> None:
        self._simulator.list_lag = seconds

    @property
    def down(self) -> bool:
        """While True every connection is dropped."""
        return self._simulator.down

    @down.setter
    def down(self, down: bool) -> None:
        self._simulator.down = down

    def outage(self, until: float) -> None:
        """Drop every connection until `now` is `until` seconds."""
        self._simulator.outage(until)

    def heal(self) -> None:
        """Call off all faults, injected or by share, and any outage."""
        self._simulator.heal()

    # The doors to it.

    def session(self, token: Any = None, **settings: Any) -> omgmj.Session:
        """Return a `Session` that talks to this service in memory; `settings` are those of `Session`."""
        from omgmj.session import Session  # noqa: PLC0415 (who serves on loopback needs no session)

        token = self.token if token is None else token
        return Session(token, **{"base_url": IN_MEMORY, "transport": self.transport(), **settings})

    def transport(self) -> InMemoryTransport:
        """Return a transport into this service for `Session(transport=…)`; faults come as the errors they cause."""
        if self._loop is None:
            raise UsageError("enter the service first: async with FakeService(…) as fake")
        return InMemoryTransport(self._exchange_in_memory, self._image)

    async def serve(self, port: int = 0, host: str = "127.0.0.1", *, ssl: tls.SSLContext | None = None) -> str:
        """Serve real HTTP on `host` and `port` (0: a free one) until the service is left, and return the URL.

        From now on the records' images lie there too. A `host` that is not this machine alone, such as the service's
        own name in a network of containers, or `0.0.0.0` for all there are, needs a `token` that is not the usual one;
        that others can reach it is said in the log.
        """
        if not self._is_open:
            raise UsageError("enter the service first: async with FakeService(…) as fake")
        if self._server:
            raise UsageError(f"the service is being served already, at {self._url}")
        check_number("port", port, most=65535, whole=True)
        is_exposed = not is_loopback(host)
        if is_exposed and USUAL_TOKEN in self.tokens:
            raise UsageError(f"at {host} others can reach the service: it needs a token other than {USUAL_TOKEN!r}")
        server = HttpServer(self._exchange, self._image)
        self._url = await server.start(host, port, ssl)
        self._server = server
        if is_exposed:
            log.served_to_others(host, urlsplit(self._url).port or 0)
        self._simulator.show_images_at(self._url)
        return self._url

    @property
    def url(self) -> str:
        """Where it is being served: a base URL for `Session`."""
        if self._url is None:
            raise UsageError("the service is not being served; call `await fake.serve()` first")
        return self._url

    # How requests are answered.

    async def _exchange(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        act: Callable[[Reply], Awaitable[None]],
    ) -> Reply:
        """Take one request's time, let `act` do to its connection what a fault says, and return the answer."""
        self._in_flight += 1
        self.in_flight_peak = max(self.in_flight_peak, self._in_flight)
        try:
            await asyncio.sleep(self._latency / 2)
            reply = self._simulator.handle(method, path, headers, body, self.now)
            self._sender.wake()
            await asyncio.sleep(reply.delay + self._latency / 2)
            if reply.act:
                await act(reply)
            return reply
        finally:
            self._in_flight -= 1

    async def _exchange_in_memory(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        self._check_open()
        return await self._exchange(method, path, headers, body, act_in_memory)

    def _image(self, url: str) -> bytes | None:
        self._check_open()
        image = self._simulator.image(url, self.now)
        if image is None:
            return None
        self.downloads[image.task_id] += 1
        return image.content

    def _check_open(self) -> None:
        if not self._is_open:
            raise TransportError("the fake service is not running any more")
