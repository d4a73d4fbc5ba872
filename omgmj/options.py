"""What commands take: the options they share, task IDs, directories; and how a command line is given again.

Each is checked here, so that what is said names the option and what was typed; the library names its own arguments.
"""

from __future__ import annotations

import math
import reprlib
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, TextIO

from cyclopts import Parameter, Token

from omgmj.checks import check_task_id
from omgmj.errors import UsageError
from omgmj.screen import PROGRESS, complain


def choice(*words: str) -> Callable[[object, Sequence[Token]], str]:
    """Return a converter that takes one of `words`, in any case."""

    def convert(_: object, tokens: Sequence[Token]) -> str:
        given = tokens[0].value
        for word in words:
            if word.lower() == given.lower():
                return word
        raise ValueError(f"{reprlib.repr(given)} is none of {', '.join(words)}")

    return convert


def directory(_: object, tokens: Sequence[Token]) -> Path:
    """Convert the name of a directory; an empty one would be where one is."""
    if not tokens[0].value.strip():
        raise ValueError("it is empty; a dot is the directory that you are in")
    return Path(tokens[0].value)


def above_zero(_: object, number: float | None) -> None:
    """Let pass a finite number above 0, and None."""
    if number is not None and not 0 < number < math.inf:
        raise ValueError("It must be a number above 0.")


def zero_or_more(_: object, number: float | None) -> None:
    """Let pass a finite number, 0 or more, and None."""
    if number is not None and not 0 <= number < math.inf:
        raise ValueError("It must be a number, 0 or more.")


Ids = Annotated[str, Parameter(help="Task IDs.")]
From = Annotated[
    str | None,
    Parameter(
        name="--from",
        help="A file with more IDs, one a line; - is standard input. Blank lines and # comments are skipped.",
        allow_leading_hyphen=True,
    ),
]
Rate = Annotated[
    float | None,
    Parameter(validator=above_zero, help="Requests a second at most; 20, unless the config file says otherwise."),
]

Timeout = Annotated[
    float | None,
    Parameter(validator=zero_or_more, help="Seconds to wait for the end of a task; for ever if not given."),
]

Progress = Annotated[
    str,
    Parameter(
        converter=choice(*PROGRESS),
        help=(
            "What shows on standard error how far it is. auto: a bar where that is a terminal and the output goes into "
            "no pipe, lines elsewhere; plain: a line now and then; none: nothing."
        ),
    ),
]


def again(name: str, ids: Iterable[object], **options: object) -> str:
    """Return a command line for `ids`, with those of the options that were given; True is one without a value."""
    words = ["omgmj", name, *map(str, ids)]
    for option, value in options.items():
        shown = f"{value:.15g}" if isinstance(value, float) else str(value)
        if value is not None and value is not False:
            words += [f"--{option}"] if value is True else [f"--{option}", shown]
    return shlex.join(words)


def check_directory(path: Path) -> Path:
    """Return a directory that files can be put into, made where it was missing; `UsageError` where that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except FileExistsError:
        raise UsageError(f"{str(path)!a} is not a directory") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise UsageError(f"cannot write into {str(path)!a}: {reason or error}") from None


def read_task_id(text: str) -> int:
    """Return the task ID that was typed; `UsageError` where it is none."""
    try:
        return check_task_id(text)
    except UsageError:
        shown = reprlib.repr(text)
        raise UsageError(f"a task ID is a whole number of at most 19 digits, such as 3432, not {shown}") from None


def gather_ids(given: Iterable[str], source: str | None) -> list[int]:
    """Return the IDs of the command line and of the file, each once, or `UsageError` that says where one is wrong."""
    ids = [read_task_id(text) for text in given]
    if source is not None:
        name = "standard input" if source == "-" else source
        try:
            with _open(source) as lines:
                ids.extend(_read_ids(lines, name))
        except OSError as error:
            raise UsageError(f"cannot read {name}: {error.strerror or error}") from None
        if not ids:
            complain(f"no task IDs in {name}")
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
                yield read_task_id(text)
            except UsageError as error:
                raise UsageError(f"{name}, line {number}: {error}") from None
