"""README's Python blocks run as files of their own, and its command lines as they stand, each in an empty folder."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from omgmj.testing import FakeService, Lives

TEXT = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


async def run(*command: str, folder: Path, **settings: str) -> tuple[int | None, str, str]:
    """Run a command in `folder`; return its exit code and what it said on stderr and stdout."""
    pipe = asyncio.subprocess.PIPE
    environment = {**os.environ, **settings}
    child = await asyncio.create_subprocess_exec(*command, cwd=folder, env=environment, stdout=pipe, stderr=pipe)
    out, err = await child.communicate()
    return child.returncode, err.decode(), out.decode()


def test_readme_is_short() -> None:
    """README is at most 240 lines, and its blocks show how to query, wait, watch and follow."""
    assert len(TEXT.splitlines()) <= 240
    assert all(
        f"session.{door}(" in "".join(blocks("python")) for door in ("query", "wait", "watch", "follow", "stats")
    )


@pytest.mark.real_time
@pytest.mark.usefixtures("no_settings")
@pytest.mark.parametrize("block", [pytest.param(block, id=str(at)) for at, block in enumerate(blocks("python"), 1)])
async def test_a_block_is_a_whole_script(block: str, tmp_path: Path) -> None:
    """A block runs without a warning, and prints; only one without a service of its own is given an account."""
    (tmp_path / "script.py").write_text(block, encoding="utf-8")
    async with FakeService(tasks=3, lives=Lives(0.01)) as service:
        account = {"OMGMJ_BASE_URL": await service.serve(), "OMGMJ_TOKEN": service.token}
        settings = {} if "FakeService" in block else account
        code, err, out = await run(sys.executable, "-W", "error", "script.py", folder=tmp_path, **settings)
        assert (code, err) == (0, "")
        assert out
        assert (service.requests > 0) == bool(settings)


@pytest.mark.slow
@pytest.mark.real_time
@pytest.mark.usefixtures("no_settings")
async def test_the_command_lines(tmp_path: Path) -> None:
    """Each command line runs as it stands, beside the others; `serve` is left to a service on a free port."""
    [block] = [block for block in blocks("sh") if "omgmj serve" in block]
    lines = re.findall("^omgmj (?!serve).*", block, re.MULTILINE)
    assert len(lines) > 5
    (tmp_path / "ids.txt").write_text("3432\n3433\n", encoding="utf-8")
    (tmp_path / "jq").write_text("#!/bin/sh\ncat\n", encoding="utf-8")
    (tmp_path / "jq").chmod(0o700)
    path = os.pathsep.join((str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]))
    async with FakeService(tasks=3, lives=Lives(0.01), epoch=datetime.now(UTC)) as service:
        account = {"OMGMJ_BASE_URL": await service.serve(), "OMGMJ_TOKEN": service.token, "PATH": path}
        runs = [run("bash", "-o", "pipefail", "-c", line, folder=tmp_path, **account) for line in lines]
        for line, (code, err, out) in zip(lines, await asyncio.gather(*runs), strict=True):
            assert code == 0, f"{line}: {err}"
            assert out, line
        assert sorted(made.kind for made in service.created) == ["IMAGINE", "UPSCALE"]
