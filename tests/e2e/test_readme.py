"""README's scripts run as they are pasted: each one in a file of an empty folder."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from omgmj.testing import FakeService, Life

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SCRIPTS = re.findall(r"^```python\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
SHELL = re.findall(r"^```sh\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
PRINTS = [
    "SUCCESS https://",
    "SUCCESS 100",
    "SUCCESS https://",
    "Stats(queries=",
    "task-",
    "{'chat': 9}",
    "SUCCESS after 1 poll",
    "3432 ",
    "",
]
"""What each script prints, among other things."""


def test_readme_is_short() -> None:
    """README is at most 390 lines, each way to wait among them; what it links to is found wherever it is shown.

    A picture is not shown everywhere: its text says what it shows.
    """
    assert len(README.splitlines()) <= 390
    assert all(f"session.{door}(" in "".join(SCRIPTS) for door in ("query", "wait", "watch", "follow", "stats"))
    assert not re.search(r"(?<!!)\[[^\]]*\]\((?!https://)", README)
    pictures = re.findall(r"!\[([^\]]*)\]\(([^)]*)\)", README)
    assert pictures
    assert all(len(text) > 100 and (ROOT / file).exists() for text, file in pictures)


@pytest.mark.real_time
@pytest.mark.parametrize(("script", "prints"), list(zip(SCRIPTS, PRINTS, strict=True)), ids=range(len(SCRIPTS)))
async def test_a_script_runs_as_pasted(script: str, prints: str, tmp_path: Path, no_settings: None) -> None:
    """A script, copied into a file of an empty folder, runs and prints what it should; one wants a token."""
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    async with FakeService() as service:
        service.add_task(Life.succeed(after=0.0, queue=0.0))
        where = {"OMGMJ_BASE_URL": await service.serve(), "OMGMJ_TOKEN": service.token, "PYTHONPATH": str(ROOT)}
        run = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "script.py"),
            cwd=tmp_path,
            env=dict(os.environ) | where,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = await run.communicate()
    assert (run.returncode, err.decode()) == (0, "")
    assert prints in out.decode()


@pytest.mark.slow
def test_the_command_lines_run_as_pasted(tmp_path: Path, no_settings: None) -> None:
    """The commands of the section on the command line run one after the other in a shell, on the served fake."""
    (commands,) = (block for block in SHELL if "omgmj serve" in block)
    (tmp_path / "ids.txt").write_text("3434\n3435\n", encoding="utf-8")
    (tmp_path / "bin").mkdir()
    for name, line in (("omgmj", f'exec "{sys.executable}" -m omgmj "$@"'), ("jq", "exec cat")):
        if name == "omgmj" or shutil.which(name) is None:
            program = tmp_path / "bin" / name
            program.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
            program.chmod(0o755)
    # The service answers a moment after it was started.
    script = commands.replace("omgmj query", "until omgmj list >/dev/null 2>&1; do :; done\nomgmj query", 1)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    run = subprocess.run(
        ["/bin/sh", "-ec", f"trap 'kill $!' EXIT\n{script}"],
        cwd=tmp_path,
        env=dict(os.environ) | {"PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.count('"status": "SUCCESS"') + run.stdout.count('"status":"SUCCESS"') >= 5
    assert len(list((tmp_path / "pictures").iterdir())) >= 3
