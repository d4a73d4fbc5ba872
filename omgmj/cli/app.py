"""The program: it reads a command line, runs the command, and turns what is raised into a message and an exit code.

The commands stand in `query_and_watch`, `create_tasks`, `list_tasks`, `queue_commands` and `demo`.
"""

from __future__ import annotations

import io
import re
import shlex
import sys
from collections.abc import Sequence
from importlib import metadata

from cyclopts import App, CycloptsError, UnknownOptionError, UnusedCliTokensError

from omgmj.cli.config import CONFIG_TYPES
from omgmj.cli.create_tasks import act, blend, describe, imagine
from omgmj.cli.demo import demo, serve
from omgmj.cli.exit_codes import FAILED, INTERRUPTED, MEANINGS, OK, PIPE_CLOSED, USAGE
from omgmj.cli.list_tasks import download, list_tasks
from omgmj.cli.query_and_watch import query, watch
from omgmj.cli.queue_commands import enqueue, results, worker
from omgmj.cli.terminal import Output, complain, drop
from omgmj.errors import OmgmjError, UsageError

app: App = App(
    name="omgmj",
    help="Make OhMyGPT's Midjourney tasks, wait for them, and fetch their images.",
    help_format="plaintext",
    help_epilogue=(
        "The token comes from OMGMJ_TOKEN, or from ~/.config/omgmj/config.toml "
        f"({', '.join(CONFIG_TYPES)}). "
        "What is learned of tasks is kept in the cache folder, so that later commands ask less; OMGMJ_LEARNED names "
        "another file, or is off. "
        f"Exit codes: {', '.join(f'{code} {meaning}' for code, meaning in MEANINGS.items())}."
    ),
    version=lambda: metadata.version("omgmj"),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (None: this process's own) and return its exit code."""
    if sys.stdout is None:
        complain("standard output is closed: nobody would learn what comes of the command")
        return USAGE
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # An emoji that the terminal cannot show is no reason to stop.
    try:
        return _run(arguments)
    except UsageError as error:
        said, code = str(error), USAGE
    except OmgmjError as error:
        said, code = f"{_name(error)}: {error}", FAILED
    except KeyboardInterrupt:
        said, code = "interrupted", INTERRUPTED
    except BrokenPipeError:
        drop(sys.stdout)
        return PIPE_CLOSED
    except OSError as error:
        drop(sys.stdout)
        said, code = f"cannot write the output: {error.strerror or error}", FAILED
    complain(_without_passwords(said))
    return code


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = app(arguments, console=Output(), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise UsageError(_plainly(error)) from None
    finally:
        sys.stdout.flush()
    return code if isinstance(code, int) else OK  # The help and the version have none.


def _plainly(error: CycloptsError) -> str:
    """Return what is wrong with a command line."""
    said = str(error)
    if isinstance(error, UnusedCliTokensError):
        said = f"Unexpected argument: {shlex.join(error.unused_tokens or ())}."
    if error.target is imagine and isinstance(error, UnknownOptionError | UnusedCliTokensError):
        said += " The prompt is one argument: put it in quotes, and after -- where it begins with a dash."
    return said


def _name(error: OmgmjError) -> str:
    """Return the name by which the error can be caught: its class, or the one above that is public."""
    return next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == OmgmjError.__module__)


def _without_passwords(said: str) -> str:
    """Return `said` without what stands in a URL of Redis, which may be one that was typed at a wrong place."""
    return re.sub(r"(rediss?://)\S*(@|\.\.\.)\S*", r"\1…", said)


app.command(query, usage="Usage: omgmj query [OPTIONS] TASK_IDS...")
app.command(watch, usage="Usage: omgmj watch [OPTIONS] TASK_IDS...")
for _command in (demo, serve, imagine, act, describe):
    app.command(_command)
app.command(blend, usage="Usage: omgmj blend [OPTIONS] IMAGES...")
app.command(download, usage="Usage: omgmj download --to PATH [OPTIONS] TASK_IDS...")
app.command(list_tasks, name="list")
app.command(worker)
app.command(enqueue, usage="Usage: omgmj enqueue [OPTIONS] TASK_IDS...")
app.command(results)
