"""The commands that need no account: `demo` watches tasks of a make-believe service, `serve` lets others ask it."""

from __future__ import annotations

import asyncio
import os
import shlex
import socket
from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter

from omgmj.cli.live_rows import watching
from omgmj.cli.options import Progress, choice
from omgmj.cli.resume_advice import resume_advice
from omgmj.cli.runner import run
from omgmj.cli.terminal import tell
from omgmj.cli.view import View
from omgmj.errors import UsageError

DEMO_RATE = 200.0
"""Requests a second that the demo allows itself: the service is its own."""
PORT = 8800
LAST_PORT = 65535
TOKEN = "t"  # noqa: S105 (a make-believe one)
LIKE_KIN = ("submitted", "previews", "signed")
"""How what is served tells records: as services of this kind do, not only as the contract's example does."""


def demo(
    *,
    tasks: Annotated[int, Parameter(help="How many tasks there are.")] = 24,
    failing: Annotated[int, Parameter(help="How many of them fail.")] = 0,
    seed: Annotated[int, Parameter(help="Another number draws other lives.")] = 0,
    progress: Progress = "auto",
) -> int:
    """Watch tasks of a make-believe service on this machine to their ends; no token is needed."""
    from omgmj.backoff.policies import Adaptive  # noqa: PLC0415 (for this command only)
    from omgmj.session import Session  # noqa: PLC0415 (imports aiohttp)
    from omgmj.testing import FakeService  # noqa: PLC0415 (imports aiohttp)

    fake = FakeService(tasks=tasks, failing=failing, seed=seed, lives="short", epoch=datetime.now(UTC))

    async def work() -> None:
        async with fake:
            url = await fake.serve()
            # The demo's lives are a tenth of real ones, and so is what the policy is set to.
            quick = Adaptive(first=0.8, cap=2.0, delay=0.1)
            session = Session(fake.token, base_url=url, rate=DEMO_RATE, backoff=quick)
            async with session, watching(session, view) as watched:
                async for task in watched:
                    view.record(task)

    view = View(fake.task_ids, progress)
    return run(work, view, lambda: resume_advice(view.tally, None))


def serve(
    *,
    port: Annotated[int, Parameter(help="Where it listens; 0: any port that is free.")] = PORT,
    host: Annotated[
        str, Parameter(help="A name or address of this machine; one that others can reach needs --token.")
    ] = "127.0.0.1",
    token: Annotated[str, Parameter(help="The token that it takes.")] = TOKEN,
    tasks: Annotated[int, Parameter(help="How many tasks there are from the beginning.")] = 24,
    lives: Annotated[
        str,
        Parameter(
            converter=choice("short", "fast", "mix"),
            help="short: tasks take some seconds; fast: some 40; mix: some 90, a few of them minutes.",
        ),
    ] = "short",
) -> int:
    """Serve a make-believe service until Ctrl-C, to try the other commands, or a program, without an account."""
    from omgmj.testing import FakeService  # noqa: PLC0415 (imports aiohttp)

    if not 0 <= port <= LAST_PORT:
        raise UsageError(f"--port must be from 0 to {LAST_PORT}, not {port}")
    fake = FakeService(tasks=tasks, lives=lives, token=token, variants=LIKE_KIN, epoch=datetime.now(UTC))

    async def work() -> None:
        async with fake:
            try:
                url = await fake.serve(port, host)
            except OSError as error:
                why = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
                raise UsageError(f"cannot serve at port {port} of {host}: {why}") from None
            ids = fake.task_ids
            tell(f"export OMGMJ_BASE_URL={url} OMGMJ_TOKEN={shlex.quote(fake.token)}")
            tell(f"# its tasks: {f'{ids[0]} to {ids[-1]}' if ids else 'none yet'}; Ctrl-C ends it")
            await asyncio.get_running_loop().create_future()

    return run(work, View(), lambda: "interrupted; the service and its tasks are gone")
