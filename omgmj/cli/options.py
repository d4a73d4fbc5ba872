"""What commands take: the options they share, directories; and how a command line is given again.

Each is checked here, so that what is said names the option and what was typed; the library names its own arguments.
"""

from __future__ import annotations

import math
import reprlib
import shlex
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import attrs
from cyclopts import Parameter, Token

from omgmj.cli.progress_display import PROGRESS
from omgmj.errors import UsageError

Word = TypeVar("Word", bound=str)


def choice(*words: Word) -> Callable[[object, Sequence[Token]], Word]:
    """Return a converter that takes one of `words`, in any case."""

    def convert(_: object, tokens: Sequence[Token]) -> Word:
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
    """Validate a finite number above 0, or None."""
    if number is not None and not 0 < number < math.inf:
        raise ValueError("It must be a number above 0.")


def zero_or_more(_: object, number: float | None) -> None:
    """Validate a finite number, 0 or more, or None."""
    if number is not None and not 0 <= number < math.inf:
        raise ValueError("It must be a number, 0 or more.")


Ids = Annotated[str, Parameter(help="Task IDs.")]
From = Annotated[
    str | None,
    Parameter(
        name="--from",
        help=(
            "A file with more IDs, or with JSON lines as omgmj writes them, one a line; - is standard input. "
            "A pipe is read as it comes. Blank lines and # comments are skipped."
        ),
        allow_leading_hyphen=True,
    ),
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
            "What shows on standard error how far it is. auto: a bar where that is a terminal, the output goes into "
            "no pipe and no IDs are typed, lines elsewhere; plain: a line now and then; none: nothing."
        ),
    ),
]


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class ServiceOptions:
    """The options of every command that asks the service."""

    rate: Annotated[
        float | None,
        Parameter(validator=above_zero, help="Requests a second at most; 20, unless the config file says otherwise."),
    ] = None


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class ProgressOptions(ServiceOptions):
    """Those of a command that may take long, too."""

    progress: Progress = "auto"


for _options in (ServiceOptions, ProgressOptions):
    attrs.resolve_types(_options)  # Files with further options do not know the names above.
SERVICE_DEFAULTS, PROGRESS_DEFAULTS = ServiceOptions(), ProgressOptions()


def again(name: str, ids: Iterable[object], shared: ServiceOptions, **options: object) -> str:
    """Return a command line for `ids`, with those of the options that were given; True is one without a value.

    What shows the progress is left to the terminal where it is given again.
    """
    words = ["omgmj", name, *map(str, ids)]
    for option, value in {**options, "rate": shared.rate}.items():
        shown = f"{value:.15g}" if isinstance(value, float) else str(value)
        if value is not None and value is not False:
            words += [f"--{option}"] if value is True else [f"--{option}", shown]
    return shlex.join(words)


def check_directory(path: Path) -> Path:
    """Return a writable directory, made if it was missing; `UsageError` when that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except FileExistsError:
        raise UsageError(f"{str(path)!a} is not a directory") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise UsageError(f"cannot write into {str(path)!a}: {reason or error}") from None
