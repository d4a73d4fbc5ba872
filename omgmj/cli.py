"""The command line: arguments, settings from the environment, what is shown, exit codes.

All that it does with tasks is done by `Session`. aiohttp takes longer to import than the rest, so what needs it is
imported by the commands themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import signal
import stat
import sys
import time
import tomllib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self, TextIO
from urllib.parse import urlsplit

import attrs
from cyclopts import App, CycloptsError, Parameter
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from omgmj.codec import dump_record
from omgmj.errors import AuthError, DecodeError, OmgmjError, UsageError
from omgmj.models import Secret, Task
from omgmj.protocol import check_task_id

if TYPE_CHECKING:
    import aiohttp

    from omgmj.session import Session

OK, FAILED, USAGE, INTERRUPTED, PIPE_CLOSED, TERMINATED = 0, 1, 2, 130, 141, 143
ASKED_AT_ONCE = 64
"""Looks of `query` that are begun before the first of them is shown."""
NAMED = 20
"""IDs that a line names at most."""
DEMO_RATE = 200.0
"""Requests a second that the demo allows itself: the service is its own."""

app = App(
    name="omgmj",
    help="Wait for OhMyGPT's Midjourney tasks.",
    help_format="plaintext",
    help_epilogue=(
        "The token comes from OMGMJ_TOKEN, or from ~/.config/omgmj/config.toml (token, base_url, rate). "
        "Exit codes: 0 all well, 1 some tasks failed or could not be resolved, 2 wrong usage, 130 interrupted."
    ),
    version=lambda: metadata.version("omgmj"),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
Ids = Annotated[str, Parameter(help="Task IDs.")]
From = Annotated[
    str | None,
    Parameter(
        name="--from",
        help="A file with more IDs, one a line; - is standard input. Blank lines and # comments are skipped.",
        allow_leading_hyphen=True,
    ),
]
Rate = Annotated[float | None, Parameter(help="Requests a second at most; 20, unless the config file says otherwise.")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (None: this process's own) and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # An emoji that the terminal cannot show is no reason to stop.
    try:
        try:
            code = app(arguments, exit_on_error=False, print_error=False)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except (CycloptsError, UsageError) as error:
        return _complain(str(error), USAGE)
    except OmgmjError as error:
        return _complain(f"{type(error).__name__}: {error}", FAILED)
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED)
    except BrokenPipeError:
        _drop_output()
        return PIPE_CLOSED
    except OSError as error:
        _drop_output()
        return _complain(str(error), FAILED)
    return code if isinstance(code, int) else OK


@app.command
def query(*task_ids: Ids, from_: From = None, rate: Rate = None) -> int:
    """Look at each task once and show its record."""
    ids = _gather_ids(task_ids, from_)
    settings = _settings()
    session = settings.session(rate)

    async def work(view: _View) -> None:
        asked: deque[asyncio.Task[Task]] = deque()

        async def show() -> None:
            try:
                view.record(await asked[0])
            except (AuthError, UsageError):
                raise
            except OmgmjError as error:
                view.unresolved(error)
            asked.popleft()

        async with session:
            try:
                for task_id in ids:
                    asked.append(asyncio.create_task(session.query(task_id)))
                    if len(asked) == ASKED_AT_ONCE:
                        await show()
                while asked:
                    await show()
            finally:
                for one in asked:
                    one.cancel()
                await asyncio.gather(*asked, return_exceptions=True)

    with settings.naming_the_token():
        return _run(work, ids, again="omgmj query")


@app.command
def watch(
    *task_ids: Ids,
    from_: From = None,
    timeout: Annotated[float | None, Parameter(help="Seconds to wait for each task; for ever if not given.")] = None,
    stall: Annotated[
        float | None, Parameter(help="Seconds without any change after which a task is given up; 3600 if not given.")
    ] = None,
    rate: Rate = None,
) -> int:
    """Wait for all tasks to end and show each one's final record as it finishes."""
    ids = _gather_ids(task_ids, from_)
    settings = _settings()
    session = settings.session(rate)
    # The library's own default is where none is given: its file is not imported just to show it in the help.
    terms: dict[str, Any] = {"timeout": timeout} if stall is None else {"timeout": timeout, "stall": stall}

    async def work(view: _View) -> None:
        async with session, session.watch(ids, on_error=view.unresolved, **terms) as watched:
            async for task in watched:
                view.record(task)

    with settings.naming_the_token():
        return _run(work, ids, again="omgmj watch")


@app.command
def demo(
    *,
    tasks: Annotated[int, Parameter(help="How many tasks there are.")] = 24,
    failing: Annotated[int, Parameter(help="How many of them fail.")] = 0,
    seed: Annotated[int, Parameter(help="Another number draws other lives.")] = 0,
) -> int:
    """Watch tasks of a make-believe service on this machine to their ends; no token is needed."""
    from omgmj.backoff import Adaptive  # noqa: PLC0415 (as are all that are for one command)
    from omgmj.session import Session  # noqa: PLC0415 (imports aiohttp)
    from omgmj.testing import FakeService  # noqa: PLC0415 (imports aiohttp)

    fake = FakeService(tasks=tasks, failing=failing, seed=seed, lives="short", epoch=datetime.now(UTC))

    async def work(view: _View) -> None:
        async with fake:
            url = await fake.serve()
            # The demo's lives are a tenth of real ones, and so is what the policy is set to.
            quick = Adaptive(first=0.8, least=0.14, cap=2.0)
            session = Session(fake.token, base_url=url, rate=DEMO_RATE, backoff=quick)
            async with session, session.watch(fake.task_ids, on_error=view.unresolved) as watched:
                async for task in watched:
                    view.record(task)

    return _run(work, fake.task_ids, again=None)


# Where the IDs come from.


def _gather_ids(given: Iterable[str], source: str | None) -> list[int]:
    """Return the IDs of the command line and of the file, each once, or `UsageError` that says where one is wrong."""
    ids = [check_task_id(text) for text in given]
    if source is not None:
        name = "standard input" if source == "-" else source
        try:
            with _open(source) as lines:
                ids.extend(_read_ids(lines, name))
        except OSError as error:
            raise UsageError(f"cannot read {name}: {error.strerror or error}") from None
    elif not ids:
        raise UsageError("no task IDs were given: name some, or use --from FILE")
    return list(dict.fromkeys(ids))


def _open(source: str) -> TextIO:
    if source != "-":
        return Path(source).open(encoding="utf-8-sig", errors="replace")
    if sys.stdin is None:
        raise OSError("it is closed")
    return open(sys.stdin.fileno(), encoding="utf-8-sig", errors="replace", closefd=False)


def _read_ids(lines: Iterable[str], name: str) -> Iterable[int]:
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if text:
            try:
                yield check_task_id(text)
            except UsageError as error:
                raise UsageError(f"{name}, line {number}: {error}") from None


# Settings.


@attrs.frozen
class _Settings:
    """What the environment and the config file say; `origin` is where the token came from."""

    token: str = attrs.field(repr=False)
    origin: str
    base_url: str | None
    rate: float | None

    def session(self, rate: float | None) -> Session:
        """Make a session; `rate` is what the command line says."""
        from omgmj.exchange import check_base_url  # noqa: PLC0415 (imports aiohttp)
        from omgmj.session import BASE_URL, Session  # noqa: PLC0415 (imports aiohttp)

        given: dict[str, Any] = {} if (rate := self.rate if rate is None else rate) is None else {"rate": rate}
        base_url = check_base_url(self.base_url or BASE_URL)
        return Session(self.token, base_url=base_url, http=_through_proxy(base_url), **given)

    @contextlib.contextmanager
    def naming_the_token(self) -> Iterator[None]:
        """Add to an `AuthError` where the token came from and where to put another."""
        try:
            yield
        except AuthError as error:
            hint = f"the token came from {self.origin}; {_where_to_put_it()}"
            raise AuthError(f"{error}; {hint}", status=error.status, code=error.code) from None


_CONFIG_TYPES: dict[str, tuple[type, ...]] = {"token": (str,), "base_url": (str,), "rate": (int, float)}


def _settings() -> _Settings:
    config = _read_config()
    token, origin = os.environ.get("OMGMJ_TOKEN", ""), "OMGMJ_TOKEN"
    if not token:
        token, origin = config.get("token", ""), str(_config_path())
    if not token.strip():
        raise UsageError(f"there is no token: {_where_to_put_it()}")
    try:
        Secret(token)
    except UsageError:
        raise UsageError(f"the token from {origin} must be one run of visible ASCII characters") from None
    return _Settings(token, origin, os.environ.get("OMGMJ_BASE_URL") or config.get("base_url"), config.get("rate"))


def _config_path() -> Path:
    base = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    # A relative one is to be ignored, by the rules of those who named the variable.
    return (base if base.is_absolute() else Path("~/.config")) / "omgmj" / "config.toml"


def _where_to_put_it() -> str:
    return f'put it into OMGMJ_TOKEN in the environment, or as token = "…" into {_config_path()}'


def _read_config() -> dict[str, Any]:
    """Return what the config file says, empty where there is none; `UsageError` names the file and what is wrong."""
    path = _config_path()
    try:
        config = tomllib.loads(path.expanduser().read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, RuntimeError):
        return {}
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{path} is not TOML: {error}") from None
    for name, value in config.items():
        kinds = _CONFIG_TYPES.get(name)
        if kinds is None:
            raise UsageError(f"{path} has the unknown key {name!a}; known are {', '.join(_CONFIG_TYPES)}")
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise UsageError(f"{path}: {name} must be a {'string' if str in kinds else 'number'}")
    return config


def _through_proxy(base_url: str) -> Callable[[], aiohttp.ClientSession] | None:
    """Return what makes an HTTP session by way of the proxy that the environment names; None where it names none.

    aiohttp's own reading of the environment also reads netrc, whose entries clash with the token.
    """
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 (loads much)

    proxy, parts = getproxies().get("https"), urlsplit(base_url)
    if not proxy or parts.scheme != "https" or proxy_bypass(parts.netloc):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    try:
        usable = urlsplit(proxy).scheme in ("http", "https") and urlsplit(proxy).hostname
    except ValueError:
        usable = False
    if not usable:
        raise UsageError("HTTPS_PROXY must be the http:// or https:// URL of a proxy")  # It may hold a password.

    def make() -> aiohttp.ClientSession:
        import aiohttp  # noqa: PLC0415 (as the head of this file says)

        return aiohttp.ClientSession(proxy=proxy, cookie_jar=aiohttp.DummyCookieJar())

    return make


# Running and showing.


def _run(work: Callable[[_View], Awaitable[None]], ids: list[int], *, again: str | None) -> int:
    """Run `work` until it ends or a signal ends it, and return the exit code.

    `again` is the command that goes on with IDs that are left; None: they are gone.
    """
    terminated = False

    async def run() -> None:
        loop, main_task = asyncio.get_running_loop(), asyncio.current_task()

        def stop(*_: object) -> None:
            nonlocal terminated
            terminated = True
            if main_task is not None:
                loop.call_soon_threadsafe(main_task.cancel)

        before = signal.signal(signal.SIGTERM, stop)
        try:
            await work(view)
        finally:
            signal.signal(signal.SIGTERM, before)

    view = _View(ids)
    try:
        with view:
            asyncio.run(run())
    except (KeyboardInterrupt, asyncio.CancelledError):
        return _complain(_way_on(list(view.left), len(ids), again), TERMINATED if terminated else INTERRUPTED)
    return FAILED if view.failed or view.lost else OK


def _way_on(left: list[int], total: int, again: str | None) -> str:
    if not left:
        return "interrupted, with no task left"
    said = f"interrupted; {len(left)} of {total} tasks left"
    if again is None:
        return f"{said}, which are gone with the demo"
    if len(left) <= NAMED:
        return f"{said}. To go on: {again} {' '.join(map(str, left))}"
    return f"{said}. To go on, use the same command again: tasks that are done are answered at once"


def _complain(text: str, code: int) -> int:
    """Write one line to standard error and return `code`."""
    with contextlib.suppress(OSError):
        print(f"omgmj: {_clean(text)}", file=sys.stderr, flush=True)
    return code


def _drop_output() -> None:
    """Keep Python from trying once more, at its end, to write what could not be written."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _clean(text: str) -> str:
    """Return `text` on one line, without what could steer a terminal."""
    return "".join(c if c.isprintable() or c == "\u200d" else "\ufffd" for c in " ".join(text.split()))


class _View(logging.Handler):
    """What a run shows: records on standard output, as JSON lines or, on a terminal, as a table; the rest on stderr.

    It takes the library's log lines too, so that they do not tear the progress bar.
    """

    def __init__(self, ids: list[int]) -> None:
        super().__init__(logging.WARNING)
        self.left = dict.fromkeys(ids)
        self.failed = 0
        self.lost = 0
        self._total = len(ids)
        self._id_width = max([len("ID"), *(len(str(task_id)) for task_id in ids)])
        self._began = time.monotonic()
        self._err = Console(stderr=True, highlight=False)
        self._out = Console(highlight=False) if _is_terminal(sys.stdout) else None
        self._headed = False
        # Standard output and standard error are not redirected through the bar: each goes where it should.
        bar = Progress(
            BarColumn(20),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=self._err,
            redirect_stdout=False,
            redirect_stderr=False,
            refresh_per_second=4,
            transient=True,
        )
        self._line_of_bar = bar.add_task(self._tally(), total=self._total)
        # What reads from a pipe may write to the same screen, and would tear the bar.
        shown = _is_terminal(sys.stderr) and self._err.is_interactive and not _is_pipe(sys.stdout)
        self._bar = bar if shown else None

    def __enter__(self) -> Self:
        logging.getLogger("omgmj").addHandler(self)
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close()
        if self._bar and kind is None:
            self._note(f"{self._tally()}, {time.monotonic() - self._began:.1f} s")

    def close(self) -> None:
        """Take the progress bar away."""
        super().close()
        logging.getLogger("omgmj").removeHandler(self)
        if self._bar:
            self._bar.stop()

    def record(self, task: Task) -> None:
        """Show a task's record."""
        self.left.pop(task.id, None)
        self.failed += task.failed
        self._advance()
        if self._out is None:
            try:
                print(dump_record(task), flush=True)
            except DecodeError as error:
                self.unresolved(error.about(task.id))
        else:
            self._show(task, self._out)

    def unresolved(self, error: OmgmjError) -> None:
        """Note that a task's ID came to no record."""
        if error.task_id is not None:
            self.left.pop(error.task_id, None)
        self.lost += 1
        self._advance()
        self._note(f"{error.task_id}: {type(error).__name__}: {error}")

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line of the library's log."""
        self._note(record.getMessage())

    def _note(self, text: str) -> None:
        self._err.print(Text(f"omgmj: {_clean(text)}"), soft_wrap=True)

    def _tally(self) -> str:
        lost = f", {self.lost} unresolved" if self.lost else ""
        return f"{self._total - len(self.left)} of {self._total} done, {self.failed} failed{lost}"

    def _advance(self) -> None:
        if self._bar:
            self._bar.update(self._line_of_bar, completed=self._total - len(self.left), description=self._tally())

    def _show(self, task: Task, out: Console) -> None:
        # The bar may be on the same screen, so it makes room.
        if self._bar:
            self._bar.stop()
        if not self._headed:
            self._headed = True
            out.print(self._line("ID", "STATUS", "SECONDS", "ACTIONS, IMAGE", style="bold"))
        colour = "red" if task.failed else "green" if task.succeeded else "yellow"
        took = ""
        if task.finished_at and task.submitted_at:
            took = f"{(task.finished_at - task.submitted_at).total_seconds():.1f}"
        if task.succeeded:
            said = "  ".join(" ".join(filter(None, (action.emoji, action.label))) for action in task.actions)
        elif task.failed:
            said = task.fail_reason or "no reason given"
        else:
            said = "" if task.progress is None else f"{task.progress} %"
        status = Text(_clean(task.status), colour)
        out.print(self._line(str(task.id), status, took, _clean(said)))
        if image := task.stored_image_url or task.image_url:
            # On a line of its own and unbroken, so that it can be copied and clicked whatever the width.
            out.print(Text(" " * (self._id_width + 2) + _clean(image), style="dim"), soft_wrap=True)
        if self._bar:
            self._bar.start()

    def _line(self, task_id: str, status: Text | str, took: str, said: str, *, style: str = "") -> Table:
        """Lay out one line of the table; all have the same widths, as they are shown one by one."""
        line = Table.grid(padding=(0, 2, 0, 0))
        line.add_column(width=self._id_width, justify="right", style=style)
        line.add_column(width=len("IN_PROGRESS"), overflow="fold", style=style)
        line.add_column(width=len("SECONDS"), justify="right", style=style)
        line.add_column(overflow="fold", style=style)
        line.add_row(task_id, status, took, Text(said))
        return line


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


def _is_pipe(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode)
    except OSError:
        return False
