"""README's code blocks run as they stand, one after the other, on the fake service in virtual time."""

from __future__ import annotations

import ast
import asyncio
import inspect
from pathlib import Path

import looptime
import pytest
from sybil import Document
from sybil.parsers.markdown import CodeBlockParser

from omgmj.testing import FakeService, Life

README = Path(__file__).parents[1] / "README.md"


def blocks() -> list[str]:
    found: list[str] = []

    def take(example: object) -> None:
        found.append(str(example.parsed))  # type: ignore[attr-defined]

    document = Document.parse(str(README), CodeBlockParser("python", take))
    for example in document.examples():
        example.evaluate()
    return found


def test_readme_is_short() -> None:
    """README is at most 200 lines, and has blocks for query, wait, watch and follow."""
    text = README.read_text()
    assert len(text.splitlines()) <= 200
    assert all(f"session.{door}(" in "".join(blocks()) for door in ("query", "wait", "watch", "follow", "stats"))


def test_readme_blocks_run(capsys: pytest.CaptureFixture[str]) -> None:
    """Each block runs offline, in the order of the page, with the names that the text promises."""

    async def run() -> None:
        async with FakeService(seed=1) as service:
            for _ in range(20):
                service.add_task(Life.succeed(40))
            names: dict[str, object] = {"service": service}
            for block in blocks():
                code = compile(block, str(README), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
                result = eval(code, names)  # noqa: S307 (README's own code)
                if inspect.isawaitable(result):
                    await result

    with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(start=0)) as runner:
        runner.run(run())
    shown = capsys.readouterr().out
    assert "U1 MJ::JOB::upsample::1::" in shown
    assert "SUCCESS 100" in shown
    assert "Stats(queries=" in shown
