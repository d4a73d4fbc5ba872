"""What a user holds: one account's session, each method a few lines over the layers below."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Self

import omgmj  # The type of `http` is aiohttp's, which annotations find by way of the package, imported lazily.
from omgmj.backoff.policies import Adaptive, Policy, Retry, check_policy
from omgmj.client.credentials import Credentials, Token
from omgmj.engine import Engine
from omgmj.errors import OmgmjError, SessionClosed, SubmissionUncertain, UsageError
from omgmj.images.download import MAX_BYTES, Progress, download
from omgmj.images.uploads import Image, check_image, check_images
from omgmj.listing.tasks import Tasks, Words
from omgmj.models import Action, Stats, Task, TaskPage
from omgmj.polling.wait import Follow, Terms, wait_for
from omgmj.polling.watch import TaskIds, Watch
from omgmj.protocol import messages, responses, submissions
from omgmj.protocol.headers import age
from omgmj.protocol.image_urls import Via
from omgmj.protocol.messages import Answer
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
from omgmj.validation import (
    check_base_url,
    check_count,
    check_page,
    check_rate,
    check_seconds,
    check_since,
    check_size,
    check_task_id,
)

BASE_URL = "https://cn2us02.opapi.win"
STALL = 3600.0


class Session:
    """A client of one account: queries tasks, and waits for them on one budget of requests.

    `token` is a string, or a callable (sync or async) that returns one and is asked again after a 401; None takes
    `OMGMJ_TOKEN` from the environment. `base_url` None takes `OMGMJ_BASE_URL`, else the public host; https only, save
    for loopback. `request_timeout` bounds one HTTP exchange, in seconds, from when it may start. At most
    `max_in_flight` requests are out at once and at most `rate` a second start, fewer after a 429. `backoff` says when
    to poll a task again, `retry` after a failed request.

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
        http: omgmj.Http | None = None,
        transport: omgmj.Transport | None = None,
    ) -> None:
        """Check the arguments; nothing is opened before the first use."""
        if http is not None and transport is not None:
            raise UsageError("http and transport exclude each other")
        if transport is not None and not callable(getattr(transport, "send", None)):
            raise UsageError(f"transport must have send, stream, aclose and limit; {type(transport).__name__} has not")
        if retry is not None and not isinstance(retry, Retry):
            raise UsageError(f"retry must be an omgmj.Retry, not {type(retry).__name__}")
        self._base_url = check_base_url(os.environ.get("OMGMJ_BASE_URL") or BASE_URL if base_url is None else base_url)
        self._rate = check_rate("rate", rate)
        self._backoff = check_policy(backoff, Adaptive())
        self._build = partial(
            Engine.build,
            base_url=self._base_url,
            credentials=Credentials(os.environ.get("OMGMJ_TOKEN", "") if token is None else token),
            request_timeout=check_seconds("request_timeout", request_timeout),
            max_in_flight=check_count("max_in_flight", max_in_flight),
            rate=self._rate,
            retry=retry or Retry(),
            http=http,
            transport=transport,
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
        asked = check_task_id(task_id)
        engine = self._open()

        def read(answer: Answer) -> tuple[Task, Answer]:
            return responses.read_query(answer, asked), answer

        await engine.begin()
        try:
            task, answer = await engine.exchange.call(messages.query_request(asked), read)
        except OmgmjError as error:
            error.task_id = asked
            raise
        engine.poller.feed(task, age(task.started_at, answer.headers) if engine.poller.planner.watched else None)
        return task

    async def wait(
        self,
        task_id: int | str,
        *,
        timeout: float | None = None,
        stall: float | None = STALL,
        backoff: Policy | None = None,
    ) -> Task:
        """Poll the task again and again until it is done; return its final record, success or failure alike.

        Raise `WaitTimeout` after `timeout` seconds (0: after one poll; None: never), `Stalled` after `stall` seconds
        of successful polls without any change, `GaveUp` where the policy says stop, `TaskNotFound` and `ServiceError`
        where the service says no to this ID again and again, `AuthError` where it does not take the token. Failures in
        passing, and an outage of the service, are waited out; an ID that alone fails for ten minutes is given up with
        its last error, and so is one whose record cannot be read (`DecodeError`).
        """
        checked = check_task_id(task_id)
        terms = self._terms(timeout, stall, backoff)
        engine = self._open()
        await engine.begin()
        return await wait_for(engine.poller, checked, terms)

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
        checked = check_task_id(task_id)
        terms = self._terms(timeout, stall, backoff)
        return Follow(self._open().poller, checked, terms)

    async def page(self, number: int = 1, size: int = 20) -> TaskPage:
        """Return a page of the account's tasks, newest first: page `number`, from 1, of pages of 5 to 20.

        One direct call, with the errors of `query`. A page beyond the end is empty. Tasks that are made between two
        calls push others to later pages; `tasks` hides that.
        """
        number, size = check_page(number), check_size(size)
        return await self._open().page(number, size)

    def tasks(
        self,
        *,
        size: int = 20,
        status: Words | None = None,
        action: Words | None = None,
        since: datetime | None = None,
    ) -> Tasks:
        """Return an async iterator over the tasks of the account, newest first, each once, by pages of `size`.

        Only those with a `status`, or one of several; with an `action` (the wire's word, `Task.kind`), or one of
        several; submitted at `since`, an aware datetime, or later, by the service's clock: reading stops soon after.

        Tasks that are made while it is read make none slip past, nor come twice; they come themselves only where they
        stand on a page that is read anyway. Its errors are those of `page`; a record that cannot be read is a
        `DecodeError` with its place on the page and, where it has one, its ID. Leave it whenever you like.
        """
        checked = check_size(size)
        self._open()
        return Tasks(self.page, checked, status=status, action=action, since=since)

    async def imagine(
        self, prompt: str, *, pool: Pool | None = None, images: Iterable[Image] = (), webhook: str | None = None
    ) -> int:
        """Create a task from a prompt and return its ID; wait for it with `wait`.

        `pool` is NORMAL or FAST; None leaves it to the service, which takes FAST. `images` are references: bytes,
        paths or data URIs of PNG, JPEG, WebP or GIF, 20 MiB each at most. `webhook` is a URL that the service tells of
        the task.

        Creating costs money, so it is sent again only where the service surely has not read it. Where the answer was
        lost, `SubmissionUncertain` carries what was sent: `reconcile` looks for the task. `ServiceError`, `AuthError`,
        `RateLimited` and `TransportError` say that nothing was created.
        """
        prompt, pool, webhook = check_prompt(prompt), check_pool(pool), check_webhook(webhook)
        draft = partial(submissions.imagine, prompt, pool=pool, webhook=webhook)
        return await self._open().submit(lambda uris: draft(images=uris), check_images(images))

    async def act(
        self, task: Task | int | str, action: Action | str, *, mask: Image | None = None, webhook: str | None = None
    ) -> int:
        """Do an action of a finished task and return the new task's ID; its errors are those of `imagine`.

        `task` is its record, or its ID, which is then asked for first. `action` is one of its actions, or the label
        (`"U1"`), emoji or custom ID of one; what it does not offer is a `UsageError` that lists what it does. Vary
        (Region) takes a `mask`.
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
            lambda uris: submissions.act(parent, chosen, mask=uris[0] if uris else None, webhook=webhook), masks
        )

    async def blend(
        self,
        images: Iterable[Image],
        *,
        dimensions: Dimensions | None = None,
        pool: Pool | None = None,
        webhook: str | None = None,
    ) -> int:
        """Create a task that mixes 2 to 5 images, and return its ID; arguments and errors as for `imagine`.

        `dimensions` is PORTRAIT, SQUARE or LANDSCAPE; None leaves it to the service.
        """
        dimensions, pool, webhook = check_dimensions(dimensions), check_pool(pool), check_webhook(webhook)
        draft = partial(submissions.blend, dimensions=dimensions, pool=pool, webhook=webhook)
        return await self._open().submit(draft, check_blend(check_images(images)))

    async def describe(self, image: Image, *, pool: Pool | None = None, webhook: str | None = None) -> int:
        """Create a task that makes prompts of an image, and return its ID; arguments and errors as for `imagine`.

        The finished record has them in `prompt`.
        """
        pool, webhook = check_pool(pool), check_webhook(webhook)
        return await self._open().submit(
            lambda uris: submissions.describe(uris[0], pool=pool, webhook=webhook), [check_image(image, "image")]
        )

    async def reconcile(
        self,
        error: SubmissionUncertain | None = None,
        *,
        prompt: str | None = None,
        action: Action | str | None = None,
        since: datetime | None = None,
    ) -> list[Task]:
        """Look through the account's latest tasks for what may have become of a submission; newest first.

        Give the `error`, or what was sent: a `prompt`, or an `action` or its custom ID, and `since` when, an aware
        datetime by this machine's clock. Those that fit by kind, prompt and time are returned, but for tasks that this
        session knows to be the answers to other submissions; the like of it that is under way just now is not known
        yet. Empty: the service made none, or does not list it yet; look again before you send anew. More than one: the
        same was sent more than once. Its errors are those of `page`.
        """
        submission = sought(error, prompt, action)
        return await self._open().reconcile(submission, check_since(submission.sent_at if since is None else since))

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
        """Fetch the task's image into `directory`, made where it is missing; return the file's path.

        The file is named by the task's ID and by what the image is: `task-3432.png`. It is there when it is whole, and
        not before. `via` is `stored` (the service's object storage), `discord`, `wsrv` or `wsrv-stored` (the same
        through the proxy WSRV), or `auto`, which tries them in this order; `compress` gives WSRV's parameters, such as
        `{"w": 512, "output": "webp"}`. A file that exists is `ImageExists`, unless `overwrite` is set. At most
        `max_bytes` are taken. `on_progress` is called with the bytes so far, and of how many (None: not told).

        `UsageError` before anything is fetched: wrong arguments, a task without an image, a directory that cannot be
        written. `DownloadError` where no way led to an image, after broken transfers were begun again. Downloads are
        not counted in `rate`, and the token does not go with them.
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
        """Take a webhook's body as a hint to poll its task once more, at most once a second.

        It proves nothing, and is ignored where nobody waits for the task. A body without a task's ID is a
        `UsageError`.
        """
        task_id = responses.read_hint(payload)
        self._open().poller.push(task_id)

    def stats(self) -> Stats:
        """Return what this session has done and is doing."""
        if self._engine is None:
            return Stats(queries=0, retries=0, rate_limited=0, pace=self._rate, watched=0, in_flight=0, overdue=0)
        return self._engine.stats()

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
                raise UsageError("a session is used inside a running event loop, such as by asyncio.run")
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
