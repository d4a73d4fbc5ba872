"""The commands about tasks that were made before: `list` shows them, `download` fetches their images.

Which tasks there are and how an image is fetched is `Session`'s business.
"""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from omgmj.errors import AuthError, ImageExists, OmgmjError, UsageError
from omgmj.models import Status, Task
from omgmj.runs import From, Ids, Rate, check_directory, gather_ids, run_with_settings
from omgmj.screen import View, complain

if TYPE_CHECKING:
    from omgmj.session import Session

LISTED = 100
"""Tasks that `list` shows unless told otherwise."""
AT_ONCE = 4
"""Images that are fetched at once."""
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def list_tasks(
    *,
    status: Annotated[
        list[str] | None,
        Parameter(negative="", help=f"Only tasks with this status; repeat for more. {', '.join(Status)}."),
    ] = None,
    action: Annotated[
        list[str] | None,
        Parameter(negative="", help="Only tasks of this kind, such as IMAGINE or UPSCALE; repeat for more."),
    ] = None,
    since: Annotated[
        str | None,
        Parameter(help="Only tasks made since: 30m, 2h or 3d ago, or a date and time, local unless it names a zone."),
    ] = None,
    limit: Annotated[int | None, Parameter(help=f"How many at most; {LISTED} if not given, 0: all.")] = None,
    rate: Rate = None,
) -> int:
    """Show the account's tasks, newest first."""
    most = LISTED if limit is None else limit
    if most < 0:
        raise UsageError(f"--limit must be 0 or more, not {most}")
    earliest = None if since is None else read_since(since, datetime.now().astimezone())
    statuses, kinds = _upper(status), _upper(action)
    for word in sorted({*(statuses or ())}.difference(Status)):
        # It may be a new one; it may also cost a look through the whole account that finds nothing.
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

    return run_with_settings(work, View(), lambda: "interrupted", rate=rate)


def download(
    *task_ids: Ids,
    to: Annotated[Path, Parameter(help="The directory to put the images into; it is made if missing.")],
    from_: From = None,
    via: Annotated[
        str, Parameter(help="stored, discord, wsrv or wsrv-stored; auto tries one after the other.")
    ] = "auto",
    overwrite: Annotated[
        bool, Parameter(negative="", show_default=False, help="Replace files that are there already.")
    ] = False,
    width: Annotated[int | None, Parameter(help="Pixels; WSRV makes the image smaller.")] = None,
    height: Annotated[int | None, Parameter(help="Pixels, likewise.")] = None,
    quality: Annotated[int | None, Parameter(help="1 to 100, likewise.")] = None,
    output: Annotated[str | None, Parameter(help="jpg, png, gif or webp, likewise.")] = None,
    rate: Rate = None,
) -> int:
    """Fetch the images of finished tasks and show where each one is."""
    from omgmj.ways import urls_by  # noqa: PLC0415 (for this command only)

    ids = gather_ids(task_ids, from_)
    wanted = {"w": width, "h": height, "q": quality, "output": output}
    compress = {name: value for name, value in wanted.items() if value is not None} or None
    # A task that can be had in each way shows what is wrong before anything is sent.
    urls_by(Task(1, Status.SUCCESS, image_url="-", stored_image_url="-"), via, compress)
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
        left = iter(ids)

        async def fetch_next() -> None:
            for task_id in left:
                await fetch(task_id, session, view)

        fetching = [asyncio.create_task(fetch_next()) for _ in range(AT_ONCE)]
        try:
            await asyncio.gather(*fetching)
        finally:
            for one in fetching:
                one.cancel()
            await asyncio.gather(*fetching, return_exceptions=True)

    options = {"to": to, "via": via, "width": width, "height": height, "quality": quality, "output": output}
    again = _command("omgmj download", {**options, "rate": rate}) + (" --overwrite" if overwrite else "")
    then = "images that are there are fetched anew" if overwrite else "images that are there are not fetched anew"
    view = View(ids)
    return run_with_settings(work, view, lambda: view.way_on(again, then), rate=rate)


def _command(name: str, options: Mapping[str, object]) -> str:
    """Return the command line with those of the options that were given."""
    given = (f"--{option} {shlex.quote(str(value))}" for option, value in options.items() if value is not None)
    return f"{name} {' '.join(given)}"


def read_since(text: str, now: datetime) -> datetime:
    """Return the time that is meant: so long before `now`, or an ISO date and time, local where it names no zone."""
    ago = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) *([smhdw])(?: +ago)?", text.strip())
    try:
        if ago:
            return now - timedelta(**{_UNITS[ago[2]]: float(ago[1])})
        when = datetime.fromisoformat(text.strip())
        return when if when.tzinfo else when.astimezone()
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"--since must be like 30m, 2h, 3d, or 2026-01-31 or 2026-01-31T12:30, not {text!a}") from None


def _upper(words: list[str] | None) -> list[str] | None:
    return None if words is None else [word.upper() for word in words]
