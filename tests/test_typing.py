"""What type checkers and readers of annotations see of the public names; mypy checks the assertions of this file."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, assert_type, get_args, get_type_hints

import pytest

import omgmj
import omgmj.testing
from omgmj.protocol.image_urls import WAYS
from omgmj.protocol.submissions import DIMENSIONS, POOLS
from omgmj.testing import FakeService

PUBLIC = [(module.__name__, name) for module in (omgmj, omgmj.testing) for name in module.__all__]


def annotated(value: object) -> Iterator[object]:
    """Return what of a public name has annotations: the function or class itself, and all that a class defines."""
    if inspect.isfunction(value):
        yield value
    if not inspect.isclass(value):
        return
    for kind in value.__mro__:
        if kind.__module__.startswith("omgmj."):
            yield kind
            for member in vars(kind).values():
                function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
                if inspect.isfunction(function):
                    yield function


@pytest.mark.parametrize(("module", "name"), PUBLIC)
def test_hints_of_what_is_public(module: str, name: str) -> None:
    """All annotations of a public name, its methods and its bases can be read at run time."""
    for each in annotated(getattr(sys.modules[module], name)):
        get_type_hints(each, include_extras=True)


@pytest.mark.parametrize("name", ["WaitError.__init__", "SubmissionUncertain.sent_at.fget", "Session.__init__"])
def test_hints_in_a_fresh_process(name: str) -> None:
    """Hints can be read whatever has been imported before: nothing but the package itself."""
    code = f"import typing, omgmj; print(*typing.get_type_hints(omgmj.{name}).values())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "omgmj.models." in done.stdout or "aiohttp" in done.stdout or "datetime" in done.stdout


def test_annotations_name_the_types_themselves() -> None:
    """What an annotation finds by way of the package is the very type that is meant."""
    assert get_type_hints(omgmj.WaitError.__init__)["last"] == omgmj.Task | None
    assert get_type_hints(omgmj.Session.__init__)["http"] == omgmj.Http | None
    assert get_type_hints(FakeService.session)["return"] is omgmj.Session


def test_words_have_one_home() -> None:
    """The words that are checked at run time are those of the types."""
    assert get_args(omgmj.Pool) == POOLS == ("NORMAL", "FAST")
    assert get_args(omgmj.Dimensions) == DIMENSIONS == ("PORTRAIT", "SQUARE", "LANDSCAPE")
    assert get_args(omgmj.Via) == ("auto", *WAYS) == ("auto", "stored", "discord", "wsrv", "wsrv-stored")


async def test_types_of_what_is_returned(tmp_path: Path) -> None:
    """A checker knows what each door returns."""
    async with FakeService(tasks=3) as fake, fake.session() as session:
        assert_type(session, omgmj.Session)
        assert_type(session.watch(fake.task_ids), omgmj.Watch)
        task = assert_type(await session.wait(fake.task_ids[0]), omgmj.Task)
        assert_type(await session.query(task.id), omgmj.Task)
        async for each in session.watch(fake.task_ids):
            assert_type(each, omgmj.Task)
        async for change in session.follow(task.id):
            assert_type(change, omgmj.Task)
        async for listed in session.tasks(status="SUCCESS"):
            assert_type(listed, omgmj.Task)
        page = assert_type(await session.page(), omgmj.TaskPage)
        assert_type(page.tasks, tuple[omgmj.Task, ...])
        assert_type(page.total, int | None)
        assert_type(task.status, omgmj.Status | str)
        assert_type(task.progress, int | None)
        assert_type(task.actions, tuple[omgmj.Action, ...])
        assert_type(task.find_action("U1"), omgmj.Action | None)
        new = assert_type(await session.imagine("a cat", pool="FAST"), int)
        assert_type(await session.act(task, "U1"), int)
        assert_type(await session.download(task, tmp_path, via="discord"), Path)
        assert_type(await session.reconcile(prompt="a dog", since=task.submitted_at), omgmj.Reconciled)
        assert_type(session.stats(), omgmj.Stats)
        assert_type(session.notify({"taskId": new}), None)
        assert_type(omgmj.image_urls(task), dict[str, str])


class Bot:
    """A user's own class, which hands on what a session takes, under the names that are exported for that."""

    def __init__(
        self,
        token: omgmj.Token,
        *,
        http: omgmj.Http | None = None,
        transport: omgmj.Transport | None = None,
        backoff: omgmj.Policy | None = None,
    ) -> None:
        self.session = omgmj.Session(token, http=http, transport=transport, backoff=backoff, base_url="https://a.test")

    def watch(self, ids: omgmj.TaskIds) -> omgmj.Watch:
        return self.session.watch(ids)

    def listed(self, status: omgmj.Words) -> omgmj.Tasks:
        return self.session.tasks(status=status)

    async def save(self, task: omgmj.Task, to: Path, via: omgmj.Via, on_progress: omgmj.Progress) -> Path:
        return await self.session.download(task, to, via=via, on_progress=on_progress)

    async def blend(self, images: list[omgmj.Image], dimensions: omgmj.Dimensions, pool: omgmj.Pool) -> int:
        return await self.session.blend(images, dimensions=dimensions, pool=pool)


async def test_aliases_of_arguments(tmp_path: Path) -> None:
    """The exported aliases are what the arguments take, for a checker and at run time."""
    async with FakeService(tasks=1) as fake:
        bot = Bot(lambda: fake.token, transport=fake.transport(), backoff=omgmj.Fixed(2))
        async with bot.session:
            (task,) = [task async for task in bot.watch(fake.task_ids)]
            assert [each.id async for each in bot.listed(["SUCCESS"])] == [task.id]
            sizes: list[int] = []
            await bot.save(task, tmp_path, "discord", lambda size, _: sizes.append(size))
            png = b"\x89PNG\r\n\x1a\n" + bytes(8)
            assert await bot.blend([png, png], "SQUARE", "FAST") == fake.task_ids[-1]
    assert sizes


async def test_other_words_are_refused_twice(tmp_path: Path) -> None:
    """A word that is none of a type's is an error to a checker, and a `UsageError` at run time."""
    async with FakeService(tasks=1) as fake, fake.session() as session:
        task = await session.wait(fake.task_ids[0])
        calls: list[Callable[[], Any]] = [
            lambda: session.imagine("a cat", pool="fast"),  # type: ignore[arg-type]
            lambda: session.describe("a.png", pool="SLOW"),  # type: ignore[arg-type]
            lambda: session.blend([], dimensions="16:9"),  # type: ignore[arg-type]
            lambda: session.download(task, tmp_path, via="pigeon"),  # type: ignore[arg-type]
        ]
        before = fake.requests
        for call in calls:
            with pytest.raises(omgmj.UsageError, match="must be one of"):
                await call()
        assert fake.requests == before
