"""What a user holds: one account's session, each method a few lines over the layers below."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Self

import omgmj  # The type of `http` is aiohttp's, which annotations find by way of the package, imported lazily.
from omgmj.backoff.policies import Adaptive, Policy, Retry, check_policy
from omgmj.base_url import BaseUrl, check_trusted_hosts, choose_base_url
from omgmj.client.credentials import Credentials, Token
from omgmj.client.proxies import NO_PROXIES, Proxies
from omgmj.engine import Engine
from omgmj.errors import OmgmjError, SessionClosed, SubmissionUncertain, UsageError
from omgmj.images.download import MAX_BYTES, Progress, download
from omgmj.images.uploads import Image, check_image, check_images
from omgmj.journal.journal import Journal
from omgmj.listing.tasks import Tasks, Words
from omgmj.models import Action, Reconciled, Task, TaskPage, Unsettled
from omgmj.polling.follow import Follow
from omgmj.polling.hold import Hold
from omgmj.polling.sinks import Terms
from omgmj.polling.wait import wait_for
from omgmj.polling.watch import TaskIds, Watch
from omgmj.protocol import messages, responses, submissions
from omgmj.protocol.callbacks import read_callback
from omgmj.protocol.image_urls import Via
from omgmj.protocol.messages import PAGE_MOST, Answer, check_size
from omgmj.protocol.submissions import (
    Dimensions,
    Pool,
    check_action,
    check_blend,
    check_dimensions,
    check_mask,
    check_pool,
    check_prompt,
    check_webhook,
    choose_action,
    sought,
)
from omgmj.stats import Stats, stats_of
from omgmj.validation import (
    check_count,
    check_page,
    check_rate,
    check_seconds,
    check_task_id,
)

STALL = 3600.0
OUTAGE = 86_400.0


class Session:
    """A client of one account: queries tasks, and waits for them on one budget of requests.

    `token` is a string, or a callable (sync or async) that returns one and is asked again after a 401; None takes
    `OMGMJ_TOKEN` from the environment. `base_url` None takes `OMGMJ_BASE_URL`, else the public host; https only, save
    for loopback. Several addresses are those of one service: what may be repeated is asked at the next one where one
    fails, and a submission where no connection was made. `request_timeout` bounds one HTTP exchange, in seconds, from
    when it may start. At most `max_in_flight` requests are out at once and at most `rate` a second start, fewer after a
    429. `backoff` says when to poll a task again, `retry` after a failed request. After `outage` seconds in which
    nobody is answered, a day, all waits end with `ServiceUnavailable`; None: never. `sweeps=False` leaves the account's
    list alone: each task is polled by itself.

    `environment_proxy`: go by the proxies that `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` name, downloads too.
    `trusted_hosts` are exact names of hosts, as of a container network, to which `base_url` may lead over plain http.

    `journal`, such as an `omgmj.SqliteJournal`, keeps on disk what is watched and made, so that nothing is lost when
    the process dies; see `resume` and `unsettled`. It is this session's alone, and is closed with it.

    `http` is an `aiohttp.ClientSession` to borrow, which stays open, or a callable that makes one, closed with this
    session: the place for a proxy of your own, a CA or a client certificate. `transport` replaces HTTP altogether.
    With either, the environment's proxies are left to it.

    Use it as `async with Session(…)`, or call `aclose` when done, from any task. It belongs to the event loop in which
    it is first used. Wrong arguments raise `UsageError`.
    """

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
        )
        self._engine: Engine | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<omgmj.Session {self._base_url}{' (closed)' if self._closed else ''}>"

    async def __aenter__(self) -> Self:
        self._open()
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

    async def query(self, task_id: int | str) -> Task:
        """Query the task once and return its record as it is now.

        Transient failures are retried, by the session's `retry`. Raise `TaskNotFound`, `AuthError`, `RateLimited` or
        `ServiceError` (the service says no), `DecodeError` (its answer cannot be read), `TransportError` or
        `ExchangeTimeout` (there was none); `UsageError`, `SessionClosed`.

            task = await session.query(3432)
        """
        asked = check_task_id(task_id)
        engine = self._open()

        def read(answer: Answer) -> tuple[Task, Answer]:
            return responses.read_query(answer, asked, engine.poller.health.odd), answer

        if engine.must_yield():  # Asked here too: a coroutine for each query costs.
            await engine.begin()
        try:
            task, answer = await engine.exchange.call(messages.query_request(asked), read)
        except OmgmjError as error:
            error.task_id = asked
            raise
        engine.poller.feed(task, answer)
        return task

    async def wait(
        self,
        task_id: int | str,
        *,
        timeout: float | None = None,
        stall: float | None = STALL,
        backoff: Policy | None = None,
    ) -> Task:
        """Wait until the task is done and return its final record, success or failure alike.

        Raise `WaitTimeout` after `timeout` seconds (0: after one poll; None: never), `Stalled` after `stall` seconds of
        successful polls without any change, `GaveUp` when the policy says stop; `TaskNotFound` or `ServiceError` when
        the service says no to this ID again and again, `AuthError` when it refuses the token; `UsageError`,
        `SessionClosed`. Passing failures and an outage are waited out. An ID that alone fails for ten minutes is given
        up with its last error, and so is an unreadable record (`DecodeError`).

            task = await session.wait(3432, timeout=600)
        """
        checked = check_task_id(task_id)
        terms = self._terms(timeout, stall, backoff)
        engine = self._open()
        await engine.begin()
        task = await wait_for(engine.poller, checked, terms)
        if engine.ledger is not None:
            engine.ledger.settle(task.id)
        return task

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

        `task_ids` is an iterable, a mapping of ID to a context of yours (`Watch.context`), or an async iterable,
        endless ones too. `timeout` and `stall` are the seconds of `wait`, for each ID from when it was taken in. Errors
        of single IDs are those of `wait`: raised at the end as `WatchErrors`, or given one by one to `on_error`, a
        plain function. `max_watched` bounds how many IDs are taken in at once, unfetched records included: all at once
        unless said otherwise, 10,000 of an async iterable. Raise `UsageError`, `SessionClosed`.

        In a session with a journal the IDs and their contexts, JSON values, are written there. An ID leaves it when its
        reader has had its final record, or a verdict on it, and comes back for the next one; `JournalError` comes at
        the first one where the journal is another account's. A watch has one reader then.

            async for task in session.watch([3432, 3433], timeout=3600, on_error=print):
                print(task.id, task.status)
        """
        terms = self._terms(timeout, stall, backoff)
        engine = self._open()
        hold = engine.hold()
        return Watch(engine.poller, task_ids, terms, on_error=on_error, max_watched=max_watched, hold=hold)

    def resume(
        self,
        *,
        timeout: float | None = None,
        stall: float | None = STALL,
        backoff: Policy | None = None,
        on_error: Callable[[OmgmjError], object] | None = None,
        max_watched: int | None = None,
    ) -> Watch:
        """Wait again for all that the journal holds and nobody waits for now: what an earlier run left.

        That is a `Watch`, with the contexts of then, to which more can be added. Tasks that were made in a session with
        this journal, and never waited for to their ends, are among them. At least once: what came to its end just
        before the last run died may come again. Arguments and errors are those of `watch`, `UsageError` and
        `SessionClosed` too.

            async for task in session.resume(on_error=print):
                print(task.id, task.status)
        """
        terms = self._terms(timeout, stall, backoff)
        engine = self._open()
        hold = Hold(engine.journal())
        return Watch(engine.poller, (), terms, on_error=on_error, max_watched=max_watched, hold=hold, resumes=True)

    def forget(self, forgotten: Iterable[int | str | Unsettled]) -> None:
        """Remove IDs, or submissions that `unsettled` told of, from the journal; who waits for an ID goes on waiting.

        Raise `UsageError`, `SessionClosed`.

            session.forget([3432])
        """
        given = list(forgotten)
        keys = [one.key for one in given if isinstance(one, Unsettled)]
        task_ids = [check_task_id(one) for one in given if not isinstance(one, Unsettled)]
        ledger = self._open().journal()
        ledger.forget(task_ids)
        ledger.drop(keys)

    def follow(
        self,
        task_id: int | str,
        *,
        timeout: float | None = None,
        stall: float | None = STALL,
        backoff: Policy | None = None,
    ) -> Follow:
        """Wait for one task and see each change of it: an async iterator of records, the final one last.

        Seconds and errors are those of `wait`; `UsageError` and `SessionClosed` come at once.

            async for task in session.follow(3432):
                print(task.status, task.progress)
        """
        checked = check_task_id(task_id)
        terms = self._terms(timeout, stall, backoff)
        engine = self._open()
        return Follow(engine.poller, checked, terms, engine.hold())

    async def page(self, number: int = 1, size: int = PAGE_MOST) -> TaskPage:
        """Return a page of the account's tasks, newest first: page `number`, from 1, of pages of 5 to 20.

        One request, with the errors of `query`, `UsageError` and `SessionClosed` too. A page beyond the end is empty. A
        record that cannot be read is left out; where none of several can, that is a `DecodeError`.
        Tasks created between two calls push others to later pages; `tasks` hides that.

            newest = await session.page(1, size=20)
        """
        number, size = check_page(number), check_size(size)
        return await self._open().page(number, size)

    def tasks(
        self,
        *,
        size: int = PAGE_MOST,
        status: Words | None = None,
        action: Words | None = None,
        since: datetime | None = None,
    ) -> Tasks:
        """List the account's tasks, newest first, each once: an async iterator that reads pages of `size` (5 to 20).

        Only those with a `status`, or one of several; with an `action` (the wire's word, `Task.kind`), or one of
        several; submitted at `since`, an aware datetime, or later, by the service's clock: reading stops soon after.

        Tasks created meanwhile make none slip past, nor come twice; they come themselves only on a page that is read
        anyway. Errors are those of `page`, `UsageError` and `SessionClosed` too. Leave it whenever you like.

            async for task in session.tasks(status="SUCCESS"):
                print(task.id, task.prompt)
        """
        checked = check_size(size)
        self._open()
        return Tasks(self.page, checked, status=status, action=action, since=since)

    async def imagine(
        self,
        prompt: str,
        *,
        pool: Pool | None = None,
        images: Iterable[Image] = (),
        webhook: str | None = None,
        context: object = None,
    ) -> int:
        """Create a task from a prompt and return its ID; wait for it with `wait`.

        `pool` is NORMAL or FAST; None leaves it to the service, FAST. `images` are references: bytes, paths or data
        URIs of PNG, JPEG, WebP or GIF, 20 MiB each at most. `webhook` is a URL for the service to tell of the task:
        here its first poll comes when `notify` hears of its end, else after 60 seconds.
        `context` is a JSON value of yours, kept in the session's journal with the task: `Watch.context` returns it.

        Creating costs money, so it is sent again only if the service surely has not read it. `SubmissionUncertain` (the
        answer was lost) carries what was sent: `reconcile` searches for the task. `ServiceError`, `AuthError`,
        `RateLimited`, `TransportError` and `UsageError` say that nothing was created, and so does `SessionClosed`,
        unless the session is closed meanwhile.

            task_id = await session.imagine("a cat in the rain --ar 16:9")
        """
        prompt, pool, webhook = check_prompt(prompt), check_pool(pool), check_webhook(webhook)
        draft = partial(submissions.imagine, prompt, pool=pool, webhook=webhook)
        return await self._open().submit(lambda uris: draft(images=uris), check_images(images), context)

    async def act(
        self,
        task: Task | int | str,
        action: Action | str,
        *,
        mask: Image | None = None,
        webhook: str | None = None,
        context: object = None,
    ) -> int:
        """Do an action of a finished task and return the new task's ID.

        `task` is its record, or its ID, which is queried first. `action` is one of its actions, or the label (`"U1"`),
        emoji or custom ID of one; Vary (Region) takes a `mask`. Errors are those of `imagine`, `SessionClosed` too, and
        of `query` for an ID; the `UsageError` for an action that is not on offer lists what is.

            task_id = await session.act(3432, "U1")
        """
        check_action(action)
        webhook = check_webhook(webhook)
        masks = [] if mask is None else [check_image(mask, "mask")]
        engine = self._open()
        parent = task if isinstance(task, Task) else await self.query(task)
        chosen = choose_action(parent, action)
        if masks:
            check_mask(chosen)
        return await engine.submit(
            lambda uris: submissions.act(parent, chosen, mask=uris[0] if uris else None, webhook=webhook),
            masks,
            context,
        )

    async def blend(
        self,
        images: Iterable[Image],
        *,
        dimensions: Dimensions | None = None,
        pool: Pool | None = None,
        webhook: str | None = None,
        context: object = None,
    ) -> int:
        """Create a task that mixes 2 to 5 images, and return its ID; arguments as for `imagine`.

        `dimensions` is PORTRAIT, SQUARE or LANDSCAPE; None leaves it to the service. Errors are those of `imagine`,
        `UsageError` and `SessionClosed` too.

            task_id = await session.blend([Path("cat.png"), Path("dog.png")])
        """
        dimensions, pool, webhook = check_dimensions(dimensions), check_pool(pool), check_webhook(webhook)
        draft = partial(submissions.blend, dimensions=dimensions, pool=pool, webhook=webhook)
        return await self._open().submit(draft, check_blend(check_images(images)), context)

    async def describe(
        self, image: Image, *, pool: Pool | None = None, webhook: str | None = None, context: object = None
    ) -> int:
        """Create a task that finds prompts for an image, in its final record's `prompt`, and return its ID.

        Arguments and errors are those of `imagine`, `UsageError` and `SessionClosed` too.

            task_id = await session.describe(Path("cat.png"))
        """
        pool, webhook = check_pool(pool), check_webhook(webhook)
        return await self._open().submit(
            lambda uris: submissions.describe(uris[0], pool=pool, webhook=webhook),
            [check_image(image, "image")],
            context,
        )

    async def reconcile(
        self,
        error: SubmissionUncertain | None = None,
        *,
        prompt: str | None = None,
        action: Action | str | None = None,
        since: datetime | None = None,
        wait: float = 0.0,
    ) -> Reconciled:
        """Search the account's latest tasks for what may have become of a submission; newest first.

        Give the `error`, or what was sent: a `prompt`, or an `action` or its custom ID, and `since` when, an aware
        datetime by this machine's clock. Tasks fit by kind, prompt and time; those known to be the answers to this
        session's other submissions are left out, but not those still under way. A `webhook` with a token of its own
        tells the task for certain; others are left out by theirs. None: the service created none, or does not list it
        yet: for up to `wait` seconds it is searched for again. Several: the same was sent more than once. The list's
        `looked_back_to` tells how far the search went. Errors are those of `page`, `UsageError` and `SessionClosed`
        too.

            found = await session.reconcile(prompt="a cat in the rain", since=sent_at, wait=60)
        """
        submission, wait = sought(error, prompt, action), check_seconds("wait", wait, zero=True)
        return await self._open().reconcile(submission, since, wait)

    async def unsettled(self) -> list[Unsettled]:
        """Return the submissions in the journal that may have made a task nobody knows of: what an earlier run left.

        Each is told with the tasks that may have come of it, searched for as by `reconcile`, and with its context. It
        stands in the journal until it is forgotten. Errors are those of `reconcile`, `UsageError` and `SessionClosed`
        too; `JournalError` where the journal cannot be read.

            for lost in await session.unsettled():
                print(lost.submission, [task.id for task in lost.found])
        """
        return await self._open().unsettled()

    async def download(
        self,
        task: Task,
        directory: str | os.PathLike[str],
        *,
        via: Via = "auto",
        compress: Mapping[str, object] | None = None,
        overwrite: bool = False,
        max_bytes: int = MAX_BYTES,
        on_progress: Progress | None = None,
    ) -> Path:
        """Download the task's image into `directory`, made if it is missing, and return the file's path.

        The file is named by the task's ID and by what the image is, `task-3432.png`, and appears when it is whole.
        `via` is `stored` (the service's object storage), `discord`, `wsrv` or `wsrv-stored` (the same through the proxy
        WSRV), or `auto`, which tries them in this order; `compress` gives WSRV's parameters, such as `{"w": 512,
        "output": "webp"}`. At most `max_bytes` are taken. `on_progress` is called with the bytes so far, and of how
        many (None: not told).

        Raise `ImageExists` for a file that is there, unless `overwrite` is set; `DownloadError` if no way led to an
        image, broken transfers begun again; `UsageError` before anything is fetched (arguments, a task without an
        image, a directory that cannot be written); `SessionClosed`. Downloads do not count in `rate`, and the token
        does not go with them.

            path = await session.download(task, "pictures")
        """
        engine = self._open()
        await engine.begin()
        with engine.exchange.open():
            return await download(
                engine.transport,
                task,
                directory,
                via=via,
                compress=compress,
                overwrite=overwrite,
                max_bytes=max_bytes,
                on_progress=on_progress,
            )

    def notify(self, payload: Mapping[str, Any] | bytes | str) -> None:
        """Take the body that was posted to a webhook as a hint of when to poll; `omgmj.webhook.Receiver` calls this.

        It proves nothing, and is ignored if nobody waits for the task. One that claims an end, or says nothing of the
        task, brings a poll now, at most one a second. One that claims progress brings none: for two minutes the task is
        polled each 60 seconds only, or when its end is foretold; one that somebody follows is polled 5 seconds after
        its last poll. Raise `UsageError` for a body without a task's ID, `SessionClosed`.

            session.notify(b'{"taskId": 3432}')
        """
        callback = read_callback(payload)
        self._open().poller.hear(callback)

    def stats(self) -> Stats:
        """Return what this session has done and is doing.

        `pace` is in requests a second. It raises nothing.

            print(session.stats().in_flight)
        """
        if self._engine is None:
            return Stats(queries=0, retries=0, rate_limited=0, pace=self._rate, watched=0, in_flight=0, overdue=0)
        return stats_of(self._engine)

    def _terms(self, timeout: float | None, stall: float | None, backoff: Policy | None) -> Terms:
        return Terms(
            check_policy(backoff, self._backoff),
            check_seconds("timeout", timeout, zero=True, none=True),
            check_seconds("stall", stall, none=True),
        )

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
