"""The commands about tasks that were made before: `list` shows them, `download` fetches their images.

Which tasks there are and how an image is fetched is `Session`'s business.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, Token

from omgmj.cli.options import (
    PROGRESS_DEFAULTS,
    SERVICE_DEFAULTS,
    From,
    Ids,
    ProgressOptions,
    ServiceOptions,
    again,
    check_directory,
    choice,
    directory,
)
from omgmj.cli.resume_advice import resume_advice
from omgmj.cli.runner import each, run_with_settings
from omgmj.cli.task_ids import gather_ids
from omgmj.cli.terminal import complain
from omgmj.cli.view import View
from omgmj.errors import AuthError, ImageExists, OmgmjError, UsageError
from omgmj.models import Status
from omgmj.protocol.image_urls import PARAMETERS, THROUGH_WSRV, WAYS, Via

if TYPE_CHECKING:
    from omgmj.session import Session

LISTED = 100
"""Tasks that `list` shows unless told otherwise."""
FORMATS = ("jpg", "png", "gif", "webp")
AT_ONCE = 4
"""Images that are fetched at once."""
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def _for_wsrv(name: str) -> Callable[[object, object], None]:
    """Return a validator for WSRV's parameter `name`, or None."""

    def check(_: object, value: object) -> None:
        try:
            if value is not None:
                PARAMETERS[name](value)
        except ValueError as error:
            raise ValueError(f"It must be {error}.") from None

    return check


def _format(kind: object, tokens: Sequence[Token]) -> str:
    """Convert the name of an image format; jpeg is jpg."""
    word = choice(*FORMATS, "jpeg")(kind, tokens)
    return "jpg" if word == "jpeg" else word


def list_tasks(
    *,
    status: Annotated[
        list[str] | None,
        Parameter(negative="", help=f"Only tasks with this status, or these, with commas. {', '.join(Status)}."),
    ] = None,
    action: Annotated[
        list[str] | None,
        Parameter(negative="", help="Only tasks of this kind, or these, with commas; such as IMAGINE,UPSCALE."),
    ] = None,
    since: Annotated[
        str | None,
        Parameter(help="Only tasks made since: 30m, 2h or 3d ago, or a date and time, local unless it names a zone."),
    ] = None,
    limit: Annotated[int | None, Parameter(help=f"How many at most; {LISTED} if not given, 0: all.")] = None,
    shared: ServiceOptions = SERVICE_DEFAULTS,
) -> int:
    """Show the account's tasks, newest first."""
    most = LISTED if limit is None else limit
    if most < 0:
        raise UsageError(f"--limit must be 0 or more, not {most}")
    earliest = None if since is None else read_since(since, datetime.now().astimezone())
    statuses, kinds = _words("--status", status), _words("--action", action)
    for word in sorted({*(statuses or ())}.difference(Status)):
        # It may be a new one; it may also cost a search through the whole account that finds nothing.
        complain(f"{word!a} is no status that is known; known are {', '.join(Status)}")

    async def work(session: Session, view: View) -> None:
        shown = 0
        async with session.tasks(status=statuses, action=kinds, since=earliest) as tasks:
            async for task in tasks:
                view.entry(task)
                shown += 1
                if shown == most:
                    break
        if shown == most and limit is None:
            complain(f"these are the newest {most}; --limit N shows more")
        elif not shown:
            complain("there are no such tasks")

    return run_with_settings(work, View(), lambda: "interrupted", shared)


def download(
    *task_ids: Ids,
    to: Annotated[
        Path, Parameter(converter=directory, help="The directory to put the images into; it is made if missing.")
    ],
    from_: From = None,
    via: Annotated[
        Via, Parameter(converter=choice("auto", *WAYS), help="The way to the image; auto tries one after the other.")
    ] = "auto",
    overwrite: Annotated[
        bool, Parameter(negative="", show_default=False, help="Replace files that are there already.")
    ] = False,
    width: Annotated[
        int | None, Parameter(validator=_for_wsrv("w"), help="Width in pixels; WSRV makes the image smaller.")
    ] = None,
    height: Annotated[
        int | None, Parameter(validator=_for_wsrv("h"), help="Height in pixels; WSRV makes the image smaller.")
    ] = None,
    quality: Annotated[
        int | None, Parameter(validator=_for_wsrv("q"), help="1 to 100; WSRV compresses the image by it.")
    ] = None,
    output: Annotated[
        str | None, Parameter(converter=_format, help=f"{', '.join(FORMATS)}; WSRV turns the image into that.")
    ] = None,
    shared: ProgressOptions = PROGRESS_DEFAULTS,
) -> int:
    """Fetch the images of finished tasks and show where each one is."""
    wanted = gather_ids(task_ids, from_)
    compress = _compress(via, w=width, h=height, q=quality, output=output)
    check_directory(to)

    async def fetch(task_id: int, session: Session, view: View) -> None:
        try:
            path = await session.download(
                await session.query(task_id),
                to,
                via=via,
                compress=compress,
                overwrite=overwrite,
                on_progress=lambda size, _: view.received(task_id, size),
            )
        except AuthError:
            raise
        except ImageExists as error:
            view.saved(task_id, Path(error.path), before=True)
        except OmgmjError as error:
            view.unresolved(error.about(task_id))
        else:
            view.saved(task_id, path)

    async def work(session: Session, view: View) -> None:
        await each(wanted.all(view), AT_ONCE, lambda task_id: fetch(task_id, session, view))

    command = partial(
        again,
        "download",
        shared=shared,
        to=to,
        via=None if via == "auto" else via,
        overwrite=overwrite,
        width=width,
        height=height,
        quality=quality,
        output=output,
    )
    then = "images that are there are fetched anew" if overwrite else "images that are there are not fetched anew"
    view = wanted.view(shared.progress)
    return run_with_settings(work, view, lambda: resume_advice(view.tally, command, then, unread=wanted.unread), shared)


def _compress(via: str, **given: object) -> dict[str, object] | None:
    """Return the parameters given for WSRV, None if there are none; `UsageError` if `via` goes around it."""
    wanted = {name: value for name, value in given.items() if value is not None}
    if wanted and via not in ("auto", *THROUGH_WSRV):
        ways = " or ".join(f"--via {way}" for way in THROUGH_WSRV)
        raise UsageError(f"--width, --height, --quality and --output are WSRV's work: they go with {ways}")
    return wanted or None


def read_since(text: str, now: datetime) -> datetime:
    """Parse a time: so long before `now`, or an ISO date and time, local if it names no zone."""
    ago = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) *([smhdw])(?: +ago)?", text.strip())
    try:
        if ago:
            return now - timedelta(**{_UNITS[ago[2]]: float(ago[1])})
        when = datetime.fromisoformat(text.strip())
        return when if when.tzinfo else when.astimezone()
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"--since must be like 30m, 2h, 3d, or 2026-01-31 or 2026-01-31T12:30, not {text!a}") from None


def _words(option: str, given: list[str] | None) -> list[str] | None:
    """Return the words that were given to an option, each by itself, in capitals."""
    if given is None:
        return None
    words = [word.strip().upper() for text in given for word in text.split(",")]
    if not all(words):
        raise UsageError(f"{option} takes words with commas between, not {','.join(given)!a}")
    return words
