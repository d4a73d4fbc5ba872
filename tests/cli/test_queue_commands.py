"""The commands of several machines, as processes on a real Redis; what is misused, in this process."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from benchmarks.redis_server import RedisServer
from omgmj.cli import app, queue_commands
from omgmj.testing import FakeService, Life
from omgmj.worker import Queue, Standing
from tests.cli.test_app import DONE, ENDLESS, FAILED, OMGMJ, records

SOON = Life.succeed(after=1)


@pytest.fixture(autouse=True)
def surroundings(no_settings: None) -> None:
    """Give each test an environment without settings."""


@pytest.fixture
async def fake(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeService]:
    """Serve tasks; the environment leads to them and to the Redis."""
    async with FakeService(token="sk-make-believe") as service:
        monkeypatch.setenv("OMGMJ_TOKEN", service.token)
        monkeypatch.setenv("OMGMJ_BASE_URL", await service.serve())
        monkeypatch.setenv("OMGMJ_REDIS", redis.url)
        yield service


class Running:
    """A command that runs, and what it has said so far."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.said = ""

    async def until(self, holds: Callable[[str], object]) -> None:
        """Read standard error until what was said is enough."""
        assert self.process.stderr
        async with asyncio.timeout(40):
            while not holds(self.said):
                line = await self.process.stderr.readline()
                assert line, self.said
                self.said += line.decode()

    async def end(self, number: int) -> int:
        """End it by a signal; return its exit code."""
        self.process.send_signal(number)
        _, err = await asyncio.wait_for(self.process.communicate(), 40)
        self.said += err.decode()
        assert self.process.returncode is not None
        return self.process.returncode


@asynccontextmanager
async def a_worker(*options: str) -> AsyncIterator[Running]:
    process = await asyncio.create_subprocess_exec(*OMGMJ, "worker", "--lease", "3", *options, stdout=PIPE, stderr=PIPE)
    try:
        yield Running(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def omgmj(*arguments: str, given: str = "") -> tuple[int | None, str, str]:
    """Run a command to its end; return its exit code and what it wrote."""
    process = await asyncio.create_subprocess_exec(*OMGMJ, *arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    out, err = await asyncio.wait_for(process.communicate(given.encode()), 60)
    return process.returncode, out.decode(), err.decode()


def leads(said: str) -> bool:
    return ": leads" in said


@pytest.mark.slow
@pytest.mark.real_time
async def test_the_leader_is_terminated_while_another_stands_by(fake: FakeService) -> None:
    """It hands over in less than a lease, and says so; each record is printed once; the exit codes are as ever."""
    ids = [fake.add_task(Life.succeed(after=1 + number / 4)) for number in range(24)]
    async with a_worker() as first:
        await first.until(leads)
        async with a_worker() as second:
            await second.until(lambda said: "stands by" in said)
            code, out, err = await omgmj("enqueue", "--from", "-", "--batch", "nightly", given="\n".join(map(str, ids)))
            assert (code, err) == (0, "")
            assert json.loads(out) == {"batch": "nightly", "new": 24, "total": 24}
            reading = asyncio.create_task(omgmj("results", "nightly"))
            await asyncio.sleep(2.5)
            began = time.monotonic()
            assert await first.end(signal.SIGTERM) == 143
            await second.until(leads)
            took = time.monotonic() - began
            code, out, err = await reading
            assert code == 0, err
            assert sorted(record["taskId"] for record in records(out)) == ids
            assert await second.end(signal.SIGINT) == 130
    name = re.search(r"this worker is (\S+)", first.said)
    assert name
    assert f"omgmj: default: stands by; {name[1]} leads\n" in second.said
    assert first.said.endswith(
        "omgmj: default: leads, 0 tasks watched\nomgmj: interrupted; what was led here is handed over\n"
    )
    assert took < 3
    assert fake.token not in first.said + second.said


@pytest.mark.slow
@pytest.mark.real_time
async def test_results_are_as_watch_shows_them(fake: FakeService, redis: RedisServer) -> None:
    """Records as JSON lines with their contexts, IDs that came to no record on stderr, and the code 1 for either."""
    good, bad, none = fake.add_task(DONE), fake.add_task(FAILED), fake.add_task(ENDLESS)
    async with a_worker(), Queue(redis.url) as queue:
        batch = await queue.watch({good: {"chat": 7}, bad: None, none: ["x"]}, batch="b")
        await batch.cancel([none])
        code, out, err = await omgmj("results", "b", "--progress", "none")
        assert code == 1
        found = {record["taskId"]: record for record in records(out)}
        assert (found[good]["status"], found[good]["context"]) == ("SUCCESS", {"chat": 7})
        assert (found[bad]["status"], "context" in found[bad]) == ("FAILURE", False)
        assert err.startswith(f"omgmj: {none}: Cancelled: ")
        assert err.endswith('; context: ["x"]\n')
        assert err.count("\n") == 1
        # What this reader has had does not come again; another one reads all.
        assert await omgmj("results", "b") == (0, "", "")
        assert len(records((await omgmj("results", "b", "--reader", "other"))[1])) == 2
        assert (await batch.counts()).pending == 0


@pytest.mark.slow
@pytest.mark.real_time
async def test_enqueue_counts_what_is_new(fake: FakeService) -> None:
    """IDs that a batch has are not new; without a name the same IDs are the same batch; a wrong line is one lost."""
    assert json.loads((await omgmj("enqueue", "1", "2", "2", "--batch", "b"))[1]) == {
        "batch": "b",
        "new": 2,
        "total": 2,
    }
    assert json.loads((await omgmj("enqueue", "2", "3", "--batch", "b"))[1]) == {"batch": "b", "new": 1, "total": 3}
    first = json.loads((await omgmj("enqueue", "5", "6"))[1])
    assert json.loads((await omgmj("enqueue", "6", "5"))[1]) == first | {"new": 0}
    code, out, err = await omgmj(
        "enqueue", "--from", "-", "--account", "other", "--batch", "b", given="1\nrubbish\n2\n"
    )
    assert (code, json.loads(out)) == (1, {"batch": "b", "new": 2, "total": 2})
    assert err.startswith("omgmj: standard input, line 2: ")


@pytest.mark.slow
@pytest.mark.real_time
async def test_accounts_have_tokens_of_their_own(fake: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each from the variable that was named; a wrong one is told without being shown, and the others go on."""
    monkeypatch.setenv("BOT_TOKEN", fake.token)
    monkeypatch.setenv("OTHER_TOKEN", "sk-wrong")
    monkeypatch.delenv("OMGMJ_TOKEN")
    await omgmj("enqueue", str(fake.add_task(SOON)), "--batch", "b", "--account", "bot")
    await omgmj("enqueue", "1", "--batch", "b", "--account", "other")
    async with a_worker("--account", "bot=BOT_TOKEN", "--account", "other=OTHER_TOKEN") as worker:
        assert len(records((await omgmj("results", "b", "--account", "bot"))[1])) == 1
        await worker.until(lambda said: "the token is tried again in a minute" in said)
        assert "account other: " in worker.said
        assert "sk-wrong" not in worker.said


@pytest.mark.slow
@pytest.mark.real_time
async def test_a_reader_is_told_how_far_it_is_and_interrupted(fake: FakeService) -> None:
    """A line after five seconds; an interrupt ends it with 130, and the same command goes on."""
    task_id = fake.add_task(Life.succeed(after=3600))
    await omgmj("enqueue", str(task_id), "--batch", "b")
    process = await asyncio.create_subprocess_exec(*OMGMJ, "results", "b", stdout=PIPE, stderr=PIPE)
    reader = Running(process)
    await reader.until(lambda said: said.startswith("omgmj: 0 of 1 done, 0 failed, 0:00:0"))
    assert await reader.end(signal.SIGINT) == 130
    assert reader.said.endswith("omgmj: interrupted; the same command goes on from here\n")


@pytest.mark.slow
@pytest.mark.real_time
async def test_a_worker_goes_on_after_redis_was_away(fake: FakeService, redis: RedisServer) -> None:
    """It says so in a few lines, without a traceback, and leads again."""
    async with a_worker() as worker:
        await worker.until(leads)
        await redis.stop()
        await asyncio.sleep(3)
        await redis.start()
        await worker.until(lambda said: said.count(": leads") == 2)
        assert await worker.end(signal.SIGTERM) == 143
    assert "docket: Redis " in worker.said
    assert all(line.startswith("omgmj: ") for line in worker.said.splitlines())
    assert len(set(worker.said.splitlines())) > len(worker.said.splitlines()) - 4


@pytest.mark.slow
@pytest.mark.real_time
async def test_a_redis_that_is_away_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line, with the code 1 and without the password."""
    monkeypatch.setenv("OMGMJ_TOKEN", "t")
    for command in (["worker"], ["enqueue", "1"], ["results", "b"]):
        code, out, err = await omgmj(*command, "--redis", "redis://:s3cret@127.0.0.1:1/0")
        assert (code, out) == (1, "")
        assert "omgmj: QueueError: Redis does not answer" in err
        assert "s3cret" not in err
        assert "Traceback" not in err


@pytest.mark.slow
@pytest.mark.real_time
async def test_no_batch(fake: FakeService) -> None:
    """To read a batch that was never handed in is wrong usage."""
    code, out, err = await omgmj("results", "none")
    assert (code, out) == (2, "")
    assert err.startswith("omgmj: there is no batch 'none'")


REDIS = ["--redis", "redis://:s3cret@127.0.0.1:1/0"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["worker"], "there is no Redis: give --redis redis://host:port/0, or put its URL into OMGMJ_REDIS"),
        (["enqueue", "1"], "there is no Redis"),
        (["results", "b"], "there is no Redis"),
        (["worker", *REDIS], "there is no token"),
        (["worker", *REDIS, "--account", "bot=MISSING"], "put it into MISSING in the environment"),
        (["worker", *REDIS, "--account", "bot=EMPTY"], "put it into EMPTY in the environment"),
        (["worker", *REDIS, "--account", "bot=ODD"], "the token from ODD must be one run of visible ASCII"),
        (["worker", *REDIS, "--account", "bot=sk-s3cret"], "--account takes NAME=VARIABLE"),
        (["worker", *REDIS, "--account", "sk-s3cret"], "--account takes NAME=VARIABLE"),
        (["worker", *REDIS, "--account", "=GOOD"], "--account takes NAME=VARIABLE"),
        (["worker", *REDIS, "--account", "a=GOOD", "--account", "a=GOOD"], "--account has 'a' twice"),
        (["worker", *REDIS, "--account", "a{b=GOOD"], "the name of the account must be"),
        (["worker", *REDIS, "--account", "a=GOOD", "--lease", "1"], "lease must be at least 3 seconds"),
        (["worker", *REDIS, "--account", "a=GOOD", "--rate", "0"], "It must be a number above 0"),
        (["worker", "--redis", "http://:s3cret@host", "--account", "a=GOOD"], "the URL of Redis must be redis://"),
        (["enqueue", "1", "--redis", "redis://s3cret@host/0?socket_timeout=1"], "must not have the option 'socket_"),
        (["enqueue", *REDIS], "no task IDs were given"),
        (["enqueue", "1", *REDIS, "--batch", "a{b"], "the name of the batch must be"),
        (["enqueue", "redis://:s3cret@host"], "there is no Redis"),
        (["enqueue", *REDIS, "redis://:s3cret@host"], "a task ID is a whole number"),
        (["results", "b", REDIS[1]], "Unexpected argument: redis://"),
    ],
)
def test_wrong_usage(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    """What is misused is one line on stderr and the code 2, without a token or a password."""
    for name, value in (("GOOD", "t"), ("EMPTY", ""), ("ODD", "s3cret words")):
        monkeypatch.setenv(name, value)
    code = app.main(arguments)
    out, err = capsys.readouterr()
    assert said in err
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "s3cret" not in err


@pytest.mark.parametrize("missing", ["docket", "redis"])
def test_without_the_extra(missing: str) -> None:
    """One line says how to get it, and the code is 2."""
    code = (
        "import importlib.util as u, sys; find = u.find_spec;"
        f"u.find_spec = lambda name: None if name == {missing!r} else find(name);"
        "from omgmj.__main__ import main; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "enqueue", "1"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "omgmj: this command needs redis and pydocket: pip install 'omgmj[worker,cli]'\n"


def test_others_start_without_it() -> None:
    """The help of the program, and of these commands, imports neither Redis's client nor docket."""
    code = (
        "import sys; from omgmj.__main__ import main; code = main();"
        "sys.exit(code or sorted({'aiohttp', 'docket', 'redis', 'omgmj.worker'} & sys.modules.keys()) or 0)"
    )
    for arguments in (["--help"], ["worker", "--help"], ["enqueue", "--help"], ["results", "--help"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_how_a_worker_stands_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the time since it changed, and how many tasks it watches."""
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    said: Any = queue_commands._said
    assert said(Standing("a", leads=True, since=1000.0, leader="me", watched=2)) == "a: leads, 2 tasks watched"
    assert (
        said(Standing("a", leads=True, since=880.0, leader="me", watched=2)) == "a: leads for 0:02:00, 2 tasks watched"
    )
    assert said(Standing("a", leads=False, since=940.0, leader="it")) == "a: stands by for 0:01:00; it leads"
    assert said(Standing("a", leads=False, since=1000.0)) == "a: stands by; nobody leads"
