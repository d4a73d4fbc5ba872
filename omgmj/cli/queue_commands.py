"""The commands of several machines: `worker` waits, `enqueue` hands IDs in, `results` reads what came of them.

All that they do is done by `omgmj.worker`. What stands behind it takes long to import, so each command does that.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import time
from collections.abc import Sequence
from contextlib import aclosing
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from omgmj.base_url import split_base_url
from omgmj.cli.config import Settings, read_settings
from omgmj.cli.options import SERVICE_DEFAULTS, From, Ids, ServiceOptions, above_zero, choice
from omgmj.cli.progress_bar import Figures, Lines, clock
from omgmj.cli.runner import cancel, run
from omgmj.cli.task_ids import gather_ids
from omgmj.cli.terminal import tell
from omgmj.cli.view import View
from omgmj.errors import UsageError

if TYPE_CHECKING:
    from omgmj.worker import Batch, Counts, Standing, Worker

Redis = Annotated[
    str | None,
    Parameter(help="The URL of Redis; OMGMJ_REDIS in the environment if not given: a password is better there."),
]
Account = Annotated[str, Parameter(help="The account that the tasks are of, by its name among the workers.")]
DEFAULT = "default"
"""The account's name where there is only one."""
TOLD_EVERY = 60.0
"""Seconds after which a worker tells again how it stands."""
COUNTED_EVERY = 1.0
"""Seconds after which a batch is counted again."""
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def worker(
    *,
    redis: Redis = None,
    account: Annotated[
        list[str] | None,
        Parameter(
            negative="",
            help=(
                "NAME=VARIABLE: an account, and the environment variable that holds its token; repeat for more. "
                f"If not given, {DEFAULT} with the token that other commands use."
            ),
        ),
    ] = None,
    lease: Annotated[
        float | None,
        Parameter(
            validator=above_zero,
            help="Seconds in which another worker takes over after one has died; 15 if not given.",
        ),
    ] = None,
    shared: ServiceOptions = SERVICE_DEFAULTS,
) -> int:
    """Wait for what was enqueued, until Ctrl-C; one worker leads an account, and others stand by."""
    url, accounts = _url(redis), _accounts(account or [])
    settings = next(iter(accounts.values()))
    from omgmj.worker import Worker  # noqa: PLC0415 (takes long)

    view = View()
    working: asyncio.Task[None] | None = None

    def tell_standing(standing: Standing) -> None:
        if working is None or not working.cancelling():  # That it leads nothing as it ends is no news.
            view.say(_said(standing))

    given = {"rate": shared.rate or settings.rate, "lease": lease}
    ours = Worker(
        url,
        {name: each.token for name, each in accounts.items()},
        base_url=split_base_url(settings.base_url),
        on_change=tell_standing,
        **{name: value for name, value in given.items() if value is not None},
    )

    async def work() -> None:
        nonlocal working
        working = asyncio.current_task()
        view.say(f"this worker is {ours.name}")
        telling = asyncio.create_task(_tell_standings(ours, view))
        try:
            await ours.run()  # A signal cancels it, and it hands over then.
        finally:
            await cancel([telling])

    engine = _EngineLog(view)
    logging.getLogger("docket").addHandler(engine)
    try:
        return run(work, view, lambda: "interrupted; what was led here is handed over")
    finally:
        logging.getLogger("docket").removeHandler(engine)


def enqueue(
    *task_ids: Ids,
    from_: From = None,
    batch: Annotated[
        str | None, Parameter(help="The batch to add them to; if not given, its name is made of the IDs.")
    ] = None,
    redis: Redis = None,
    account: Account = DEFAULT,
) -> int:
    """Hand in task IDs for the workers, and show the batch's name, how many are new to it, and how many it has."""
    url, wanted = _url(redis), gather_ids(task_ids, from_)
    view = wanted.view("none")

    async def work() -> None:
        from omgmj.worker import Queue  # noqa: PLC0415 (takes long)

        queue = Queue(url, account=account)
        if batch is not None:
            queue.batch(batch)  # An odd name is told before IDs are read.
        async with queue:
            ids = [task_id async for task_id in wanted.all(view)]
            held = await queue.watch(ids, batch=batch)
            total = (await held.counts()).total
        tell(json.dumps({"batch": held.name, "new": held.new, "total": total}))

    return run(work, view, lambda: "interrupted; to hand in again is harmless")


def results(
    batch: Annotated[str, Parameter(help="The batch's name.")],
    /,
    *,
    reader: Annotated[
        str, Parameter(help="A name under which it is kept how far you have read; readers of other names read all.")
    ] = DEFAULT,
    redis: Redis = None,
    account: Account = DEFAULT,
    progress: Annotated[
        str,
        Parameter(
            converter=choice("plain", "none"),
            help="plain: a line now and then on standard error says how far the batch is; none: nothing.",
        ),
    ] = "plain",
) -> int:
    """Show the final record of each task of a batch, those that have finished first, until all have."""
    url, view = _url(redis), View(progress="none")

    async def work() -> None:
        from omgmj.worker import Queue  # noqa: PLC0415 (takes long)

        queue = Queue(url, account=account)
        read = queue.batch(batch)
        async with queue:
            counting = asyncio.create_task(_tell_counts(read, view)) if progress == "plain" else None
            try:
                async with aclosing(read.results(reader=reader)) as found:
                    async for result in found:
                        view.expect([result.task_id])
                        if result.task is not None:
                            view.record(result.task, result.context)
                        elif result.error is not None:
                            view.unresolved(result.error, result.context)
            finally:
                if counting is not None:
                    await cancel([counting])

    return run(work, view, lambda: "interrupted; the same command goes on from here")


class _EngineLog(logging.Handler):
    """What docket logs: without tracebacks, and each line once a minute, as it repeats them while Redis is away."""

    def __init__(self, view: View) -> None:
        super().__init__(logging.WARNING)
        self._view = view
        self._said_at: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line that was not written of late."""
        now = time.monotonic()
        if now - self._said_at.get(record.msg, float("-inf")) >= TOLD_EVERY:
            self._said_at[record.msg] = now
            self._view.say(f"docket: {record.getMessage()}")


def _url(given: str | None) -> str:
    """Return the URL of Redis; `UsageError` where there is none, or nothing that could reach it."""
    if any(find_spec(name) is None for name in ("docket", "redis")):
        raise UsageError("this command needs redis and pydocket: pip install 'omgmj[worker,cli]'")
    url = given or os.environ.get("OMGMJ_REDIS")
    if not url:
        raise UsageError("there is no Redis: give --redis redis://host:port/0, or put its URL into OMGMJ_REDIS")
    return url


def _accounts(given: Sequence[str]) -> dict[str, Settings]:
    """Return the settings of accounts by name. A token that was typed in place of a variable's name is not shown."""
    accounts: dict[str, Settings] = {}
    for text in given:
        name, _, variable = text.partition("=")
        if not name or not VARIABLE.fullmatch(variable):
            raise UsageError("--account takes NAME=VARIABLE: VARIABLE is the environment variable that holds the token")
        if name in accounts:
            raise UsageError(f"--account has {name!a} twice")
        accounts[name] = read_settings(variable)
    return accounts or {DEFAULT: read_settings()}


async def _tell_standings(ours: Worker, view: View) -> None:
    while True:
        await asyncio.sleep(TOLD_EVERY)
        for standing in ours.standings:
            view.say(_said(standing))


async def _tell_counts(batch: Batch, view: View) -> None:
    figures = Figures()
    figures.begin(time.monotonic())
    lines = Lines(figures, view.say)
    while True:
        counts = await batch.counts()
        figures.count(counts.pending, counts.total, _counted(counts))
        lines.tick()
        await asyncio.sleep(COUNTED_EVERY)


def _said(standing: Standing) -> str:
    """Return how a worker stands to an account, for how long, and who leads."""
    seconds = time.time() - standing.since
    lasts = f" for {clock(seconds)}" if seconds >= 1 else ""
    if standing.leads:
        return f"{standing.account}: leads{lasts}, {standing.watched} tasks watched"
    return f"{standing.account}: stands by{lasts}; {standing.leader or 'nobody'} leads"


def _counted(counts: Counts) -> str:
    said = f"{counts.succeeded + counts.failed} of {counts.total} done, {counts.failed} failed"
    lost = counts.errors + counts.cancelled
    return f"{said}, {lost} unresolved" if lost else said
