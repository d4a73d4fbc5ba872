"""The commands that make tasks: `imagine`, `act`, `blend`, `describe`.

Making a task costs money. So the ID of what was made is told whatever comes after, and where it is not known whether
something was made, how to search for it. What is sent, and how, is `Session`'s business.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import attrs
from cyclopts import Parameter

from omgmj.cli.exit_codes import OK, UNCERTAIN
from omgmj.cli.live_rows import watching
from omgmj.cli.options import ProgressOptions, Timeout, again, check_directory, choice, directory
from omgmj.cli.runner import run_with_settings
from omgmj.cli.task_ids import read_task_id
from omgmj.cli.terminal import complain
from omgmj.cli.view import View
from omgmj.errors import OmgmjError, SubmissionUncertain, UsageError
from omgmj.models import Task
from omgmj.protocol.submissions import DIMENSIONS, POOLS, Dimensions, Pool

if TYPE_CHECKING:
    from omgmj.session import Session

PoolName = Annotated[
    Pool | None,
    Parameter(converter=choice(*POOLS), help="The resource pool; the service takes FAST if none is given."),
]
EARLIER = timedelta(minutes=10)
"""How far the service's clock may be behind the one here, in the command for the search."""


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class CreateOptions(ProgressOptions):
    """The options of every command that creates a task: webhook, wait, download, and how they go."""

    webhook: Annotated[str | None, Parameter(help="A URL that the service tells of the task.")] = None
    wait: Annotated[
        bool, Parameter(negative="", show_default=False, help="Wait for the task to end and show its final record.")
    ] = False
    directory: Annotated[
        Path | None,
        Parameter(
            name="--download",
            converter=directory,
            help="Wait, and put the task's image into this directory, made if missing.",
        ),
    ] = None
    timeout: Timeout = None


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class DescribeOptions(CreateOptions):
    """Those of `describe`, whose tasks have no image."""

    directory: Annotated[Path | None, Parameter(parse=False)] = None


_DEFAULTS, _DESCRIBE_DEFAULTS = CreateOptions(), DescribeOptions()


def imagine(
    prompt: Annotated[str, Parameter(help="What the image shows, as one argument: in quotes.")],
    /,
    *,
    pool: PoolName = None,
    image: Annotated[list[Path] | None, Parameter(negative="", help="An image to refer to; repeat for more.")] = None,
    options: CreateOptions = _DEFAULTS,
) -> int:
    """Make a task from a prompt and show its ID."""
    making = _Making(options)

    async def send(session: Session) -> int:
        making.begin()
        return await session.imagine(prompt, pool=pool, images=image or (), webhook=options.webhook)

    return making.run(send)


def act(
    task_id: Annotated[str, Parameter(help="The ID of a finished task.")],
    action: Annotated[str, Parameter(help="Label (U1), emoji or custom ID of one of its actions.")],
    /,
    *,
    mask: Annotated[Path | None, Parameter(help="An image of the region to change, for Vary (Region).")] = None,
    options: CreateOptions = _DEFAULTS,
) -> int:
    """Do one of a finished task's actions and show the new task's ID."""
    parent_id = read_task_id(task_id)
    making = _Making(options)

    async def send(session: Session) -> int:
        parent = await session.query(parent_id)
        making.begin()
        return await session.act(parent, action, mask=mask, webhook=options.webhook)

    return making.run(send)


def blend(
    *images: Annotated[Path, Parameter(help="2 to 5 images.")],
    dimensions: Annotated[
        Dimensions | None,
        Parameter(converter=choice(*DIMENSIONS), help="The shape of the image; the service chooses if none is given."),
    ] = None,
    pool: PoolName = None,
    options: CreateOptions = _DEFAULTS,
) -> int:
    """Make a task that mixes images and show its ID."""
    making = _Making(options)

    async def send(session: Session) -> int:
        making.begin()
        return await session.blend(images, dimensions=dimensions, pool=pool, webhook=options.webhook)

    return making.run(send)


def describe(
    image: Annotated[Path, Parameter(help="The image to describe.")],
    /,
    *,
    pool: PoolName = None,
    options: DescribeOptions = _DESCRIBE_DEFAULTS,
) -> int:
    """Make a task that finds prompts for an image, which its final record holds, and show its ID."""
    making = _Making(options)

    async def send(session: Session) -> int:
        making.begin()
        return await session.describe(image, pool=pool, webhook=options.webhook)

    return making.run(send)


class _Making:
    """One task in the making: how far it is, and the message for an interrupt at each point."""

    def __init__(self, options: CreateOptions) -> None:
        self._options = options
        self._is_awaited = options.wait or options.directory is not None
        if options.timeout is not None and not self._is_awaited:
            raise UsageError("--timeout goes with --wait or --download")
        self._directory = None if options.directory is None else check_directory(options.directory)
        self._begun_at: datetime | None = None
        self._task_id: int | None = None
        self._is_uncertain = False
        self._is_told = False
        self._is_image_due = options.directory is not None

    def begin(self) -> None:
        """Mark the moment of sending: from now on a task may have been made."""
        self._begun_at = datetime.now(UTC)

    def run(self, send: Callable[[Session], Awaitable[int]]) -> int:
        """Make the task by `send`, do with it what was asked for, and return the exit code."""

        async def work(session: Session, view: View) -> None:
            try:
                self._task_id = await send(session)
            except SubmissionUncertain as error:
                self._is_uncertain = True
                await self._search_for(error, session)
            else:
                await self._go_on(self._task_id, session, view)

        code = run_with_settings(work, View(progress=self._options.progress), self._way_on, self._options)
        return UNCERTAIN if self._is_uncertain and code == OK else code

    async def _go_on(self, task_id: int, session: Session, view: View) -> None:
        if not self._is_awaited:
            view.made(task_id)
            self._is_told = True
            return
        complain(f"task {task_id} was made")
        view.expect([task_id])
        async with watching(session, view, timeout=self._options.timeout) as watched:
            async for task in watched:
                view.record(task)
                self._is_told = True
                self._is_image_due = self._is_image_due and task.succeeded
                if self._directory is not None and self._is_image_due:
                    await self._save(task, self._directory, session, view)
        if steps := self._steps(task_id):
            view.say(f"to go on: {steps}")

    async def _save(self, task: Task, directory: Path, session: Session, view: View) -> None:
        try:
            path = await session.download(task, directory, on_progress=lambda size, _: view.received(task.id, size))
        except OmgmjError as error:
            view.unresolved(error.about(task.id))
        else:
            view.saved(task.id, path)
            self._is_image_due = False

    async def _search_for(self, error: SubmissionUncertain, session: Session) -> None:
        """Report a submission whose answer was lost, and the finds of a first search for it."""
        complain(f"{type(error).__name__}: {error}")
        complain(f"it was not sent again, as that could cost twice. To search for it: {_list_since(error.sent_at)}")
        try:
            found = await session.reconcile(error)
        except OmgmjError as failure:
            complain(f"a first search for it failed: {type(failure).__name__}: {failure}")
        else:
            for task in found:
                made = f", made at {task.submitted_at:%Y-%m-%d %H:%M:%S} UTC" if task.submitted_at else ""
                complain(f"this may be it: task {task.id}, {task.status}{made}. To go on: {self._steps(task.id)}")
            if found:
                return
            complain("a first search found no task that fits: there is none, or the service does not list it yet")
        if self._is_awaited:
            complain(f"once its ID is known: {self._steps('ID')}")

    def _steps(self, task_id: object) -> str:
        """Return the commands for what is still to do; empty when there is nothing left."""
        options = self._options
        steps = [] if self._is_told else [again("watch", [task_id], options, timeout=options.timeout)]
        if self._is_image_due:
            steps.append(again("download", [task_id], options, to=self._directory))
        return " && ".join(steps)

    def _way_on(self) -> str:
        """Return what to say at an interrupt."""
        if self._begun_at is None:
            return "interrupted; nothing was sent"
        if self._task_id is None:
            return (
                "interrupted while a task was being made: it may have been made or not. "
                f"To search for it: {_list_since(self._begun_at)}"
            )
        said, steps = f"interrupted; task {self._task_id} was made", self._steps(self._task_id)
        return f"{said}. To go on: {steps}" if steps else said


def _list_since(sent_at: datetime | None) -> str:
    """Return the command that lists the tasks made since `sent_at`, or some minutes before."""
    since = (sent_at or datetime.now(UTC)) - EARLIER
    return f"omgmj list --since {since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
