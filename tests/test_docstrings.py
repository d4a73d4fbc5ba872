"""The docstrings of `Session`: each public method names its errors and shows an example, which runs."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Coroutine
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from omgmj import MemoryJournal, Session
from omgmj.backoff import Fixed
from omgmj.testing import PNG, FakeService, Life

METHODS = sorted(name for name, _ in inspect.getmembers(Session, inspect.isfunction) if not name.startswith("_"))


def docstring(name: str) -> str:
    return inspect.getdoc(getattr(Session, name)) or ""


def example(name: str) -> str:
    """Return the last block of a docstring, which is indented."""
    block = docstring(name).rpartition("\n\n")[2]
    assert block.startswith("    ")
    return textwrap.dedent(block)


@pytest.mark.parametrize("name", METHODS)
def test_errors_are_named(name: str) -> None:
    """A method says which errors it raises: wrong usage and a closed session too, save where nothing is raised."""
    said = docstring(name)
    assert ("raises nothing" in said) if name == "stats" else ("`UsageError`" in said and "`SessionClosed`" in said)


@pytest.mark.parametrize("name", METHODS)
async def test_the_example_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example calls its method, compiles, and runs on the fake service."""
    monkeypatch.chdir(tmp_path)
    for picture in ("cat.png", "dog.png"):
        (tmp_path / picture).write_bytes(PNG)
    code = compile(example(name), name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert f"session.{name}(" in example(name)
    monkeypatch.setattr("omgmj.session.opening.Adaptive", partial(Fixed, 0.5))
    async with FakeService() as service:
        for task_id in (3432, 3433):
            service.add_task(Life.succeed(after=0.0, queue=0.0), task_id=task_id)
        async with service.session(journal=MemoryJournal()) as session:
            names = {"session": session, "task": await session.query(3432), "Path": Path, "sent_at": datetime.now(UTC)}
            if code.co_flags & inspect.CO_COROUTINE:
                await cast("Coroutine[Any, Any, None]", eval(code, names))  # noqa: S307 (this project's own text)
            else:
                eval(code, names)  # noqa: S307 (as above)
