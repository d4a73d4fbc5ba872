"""The commands that make tasks: `imagine`, `act`, `blend`, `describe`.

Making a task costs money. So the ID of what was made is told whatever comes after, and where it is not known whether
something was made, how to look for it. What is sent, and how, is `Session`'s business.
"""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from omgmj.checks import check_task_id
from omgmj.errors import OmgmjError, SubmissionUncertain
from omgmj.models import Task
from omgmj.runs import OK, UNCERTAIN, check_directory, run_with_settings
from omgmj.screen import View, complain

if TYPE_CHECKING:
    from omgmj.session import Session

Pool = Annotated[str | None, Parameter(help="NORMAL or FAST; the service takes FAST if none is given.")]
Webhook = Annotated[str | None, Parameter(help="A URL that the service tells of the task.")]
Wait = Annotated[
    bool, Parameter(negative="", show_default=False, help="Wait for the task to end and show its final record.")
]
Into = Annotated[Path | None, Parameter(name="--download", help="Wait, and put the task's image into this directory.")]
EARLIER = timedelta(minutes=1)
"""By how much the service's clock may be behind the one here, in a command that looks for what was sent."""


def imagine(
    prompt: Annotated[str, Parameter(help="What the image shows, as one argument.")],
    /,
    *,
    pool: Pool = None,
    image: Annotated[list[Path] | None, Parameter(negative="", help="An image to refer to; repeat for more.")] = None,
    webhook: Webhook = None,
    wait: Wait = False,
    into: Into = None,
) -> int:
    """Make a task from a prompt and show its ID."""
    making = _Making(wait=wait, directory=into)

    async def send(session: Session) -> int:
        making.begin()
        return await session.imagine(prompt, pool=_upper(pool), images=image or (), webhook=webhook)

    return making.run(send)


def act(
    task_id: Annotated[str, Parameter(help="The ID of a finished task.")],
    action: Annotated[str, Parameter(help="Label (U1), emoji or custom ID of one of its actions.")],
    /,
    *,
    mask: Annotated[Path | None, Parameter(help="An image of the region to change, for Vary (Region).")] = None,
    webhook: Webhook = None,
    wait: Wait = False,
    into: Into = None,
) -> int:
    """Do one of a finished task's actions and show the new task's ID."""
    parent_id = check_task_id(task_id)
    making = _Making(wait=wait, directory=into)

    async def send(session: Session) -> int:
        parent = await session.query(parent_id)
        making.begin()
        return await session.act(parent, action, mask=mask, webhook=webhook)

    return making.run(send)


def blend(
    *images: Annotated[Path, Parameter(help="2 to 5 images.")],
    dimensions: Annotated[
        str | None, Parameter(help="PORTRAIT, SQUARE or LANDSCAPE; the service chooses if none is given.")
    ] = None,
    pool: Pool = None,
    webhook: Webhook = None,
    wait: Wait = False,
    into: Into = None,
) -> int:
    """Make a task that mixes images and show its ID."""
    making = _Making(wait=wait, directory=into)

    async def send(session: Session) -> int:
        making.begin()
        return await session.blend(images, dimensions=_upper(dimensions), pool=_upper(pool), webhook=webhook)

    return making.run(send)


def describe(
    image: Annotated[Path, Parameter(help="The image to describe.")],
    /,
    *,
    pool: Pool = None,
    webhook: Webhook = None,
    wait: Wait = False,
) -> int:
    """Make a task that finds prompts for an image, which its final record holds, and show its ID."""
    making = _Making(wait=wait, directory=None)

    async def send(session: Session) -> int:
        making.begin()
        return await session.describe(image, pool=_upper(pool), webhook=webhook)

    return making.run(send)


class _Making:
    """One task in the making: how far it is, and what is said where it is cut off there."""

    def __init__(self, *, wait: bool, directory: Path | None) -> None:
        self._directory = None if directory is None else check_directory(directory)
        self._wait = wait or directory is not None
        self._begun_at: datetime | None = None
        self._task_id: int | None = None
        self._is_uncertain = False
        self._is_told = self._is_saved = False

    def begin(self) -> None:
        """Note that from now on a task may have been made."""
        self._begun_at = datetime.now(UTC)

    def run(self, send: Callable[[Session], Awaitable[int]]) -> int:
        """Make the task by `send`, do with it what was asked for, and return the exit code."""

        async def work(session: Session, view: View) -> None:
            try:
                self._task_id = await send(session)
            except SubmissionUncertain as error:
                self._is_uncertain = True
                await _look_for(error, session)
            else:
                await self._go_on(self._task_id, session, view)

        code = run_with_settings(work, View(), self._way_on)
        return UNCERTAIN if self._is_uncertain and code == OK else code

    async def _go_on(self, task_id: int, session: Session, view: View) -> None:
        if not self._wait:
            view.made(task_id)
            self._is_told = True
            return
        complain(f"task {task_id} was made")
        view.expect([task_id])
        async with session.watch([task_id], on_error=view.unresolved) as watched:
            async for task in watched:
                view.record(task)
                self._is_told = True
                if self._directory is not None and task.succeeded:
                    await self._save(task, self._directory, session, view)

    async def _save(self, task: Task, directory: Path, session: Session, view: View) -> None:
        try:
            path = await session.download(task, directory, on_progress=lambda size, _: view.received(task.id, size))
        except OmgmjError as error:
            view.unresolved(error.about(task.id))
        else:
            view.saved(task.id, path)
            self._is_saved = True

    def _way_on(self) -> str:
        """Return what to say at an interrupt."""
        if self._begun_at is None:
            return "interrupted; nothing was sent"
        if self._task_id is None:
            return (
                "interrupted while a task was being made: it may have been made or not. "
                f"To look for it: {_search(self._begun_at)}"
            )
        steps = [] if self._is_told else [f"omgmj watch {self._task_id}"]
        if self._directory is not None and not self._is_saved:
            steps.append(f"omgmj download {self._task_id} --to {shlex.quote(str(self._directory))}")
        said = f"interrupted; task {self._task_id} was made"
        return f"{said}. To go on: {' && '.join(steps)}" if steps else said


async def _look_for(error: SubmissionUncertain, session: Session) -> None:
    """Say what is known of a submission whose answer was lost, and what a first look for it finds."""
    complain(f"{type(error).__name__}: {error}")
    complain(f"it was not sent again, as that could cost twice. To look for it: {_search(error.sent_at)}")
    try:
        found = await session.reconcile(error)
    except OmgmjError as failure:
        complain(f"a first look for it failed: {type(failure).__name__}: {failure}")
        return
    for task in found:
        made = f", made at {task.submitted_at:%Y-%m-%d %H:%M:%S} UTC" if task.submitted_at else ""
        complain(f"this may be it: task {task.id}, {task.status}{made}. To go on: omgmj watch {task.id}")
    if not found:
        complain("a first look found no task that fits: there is none, or the service does not list it yet")


def _search(sent_at: datetime | None) -> str:
    """Return the command that lists what was made since `sent_at`."""
    since = (sent_at or datetime.now(UTC)) - EARLIER
    return f"omgmj list --since {since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _upper(word: str | None) -> str | None:
    return None if word is None else word.upper()
