"""The journal in the real world: processes that are killed, and a disk that is full."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from omgmj.journal.sqlite import SqliteJournal
from tests.journal.rows import bound, python, resumed, run, submissions_of

WORK = """
    import asyncio, os, random, sys
    from omgmj.journal.sqlite import SqliteJournal
    from omgmj.models import Submission
    from tests.journal.rows import bound

    path, first, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    random.seed(seed)

    def tell(*words):
        os.write(1, f"{' '.join(map(str, words))}\\n".encode())

    async def main():
        ledger = await bound(SqliteJournal(path))
        held = []
        async for task_ids, contexts in ledger.resume():
            assert contexts == [{"chat": task_id} for task_id in task_ids]
            held += task_ids
        last = first
        while True:
            chunk = list(range(last + 1, last + random.randint(1, 200)))
            last += len(chunk)
            ledger.hold(chunk, [{"chat": task_id} for task_id in chunk])
            held += chunk
            if random.random() < 0.5:
                await ledger.written()
                tell("written", last)
            for _ in range(random.randint(0, len(held))):
                task_id = held.pop(random.randrange(len(held)))
                tell("delivered", task_id)
                ledger.done(task_id)
                if random.random() < 0.05:
                    await asyncio.sleep(0)
            key = await ledger.intend(Submission("IMAGINE"))
            tell("intended", key)
            if random.random() < 0.5:
                ledger.refused(key)
                tell("refused", key)

    asyncio.run(main())
"""
"""A session that takes IDs in, delivers some, and submits, and says what it has done, for ever."""


def killed(path: Path, first: int, seed: int) -> list[str]:
    """Let a session work for a moment, kill it, and return what it said."""
    with python(WORK, path, first, seed) as process:
        assert process.stdout is not None
        said = [process.stdout.readline()]
        time.sleep(random.uniform(0.0, 0.3))
        process.kill()
        said += process.stdout.readlines()
    return [line for line in said if line.endswith("\n")]


@pytest.mark.real_time
async def test_nothing_is_lost_by_a_kill(tmp_path: Path) -> None:
    """What was written and not delivered is there after kills at random moments; each intent that was kept is known."""
    path = tmp_path / "a.journal"
    written: set[int] = set()
    delivered: dict[int, int] = {}
    intended: set[int] = set()
    refused: set[int] = set()
    rounds = 6
    for number in range(rounds):
        first = number * 10_000_000
        for line in killed(path, first, number):
            what, _, word = line.partition(" ")
            value = int(word)
            if what == "written":
                written.update(range(first + 1, value + 1))
            elif what == "delivered":
                delivered[value] = delivered.get(value, 0) + 1
            elif what == "intended":
                intended.add(value)
            else:
                refused.add(value)
    ledger = await bound(SqliteJournal(path))
    left = await resumed(ledger)
    await ledger.aclose()
    journal = SqliteJournal(path)
    keys = {row.key for row in submissions_of(journal)}
    journal.close()
    assert len(written) > 100
    assert written <= left.keys() | delivered.keys()
    assert max(delivered.values()) <= rounds
    assert intended - refused <= keys


def test_a_full_disk(tmp_path: Path) -> None:
    """One line tells of it, an intent is refused, all else goes on, and all is written when there is room."""
    said = run(
        """
        import asyncio, logging, resource, sys
        logging.basicConfig(stream=sys.stdout, format="%(message)s")
        from omgmj.errors import JournalError
        from omgmj.journal import writer
        from omgmj.journal.sqlite import SqliteJournal
        from omgmj.models import Submission
        from tests.journal.rows import bound
        writer.RETRY = 0.05
        LIMIT = resource.getrlimit(resource.RLIMIT_FSIZE)

        async def main():
            ledger = await bound(SqliteJournal(sys.argv[1]))
            await ledger.written()
            resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, LIMIT[1]))
            ledger.hold(range(1, 50_001), [{"chat": "x" * 20}] * 50_000)
            await ledger.written()
            for task_id in range(1, 1001):
                ledger.done(task_id)
            try:
                for _ in range(1000):
                    await ledger.intend(Submission("IMAGINE", "x" * 1000))
            except JournalError:
                print("refused")
            await asyncio.sleep(0.3)
            resource.setrlimit(resource.RLIMIT_FSIZE, LIMIT)
            await asyncio.sleep(0.2)
            await ledger.intend(Submission("IMAGINE"))
            await ledger.aclose()

        asyncio.run(main())
        """,
        tmp_path / "a.journal",
    )
    lines = said.splitlines()
    assert len(lines) == 3, said
    assert "cannot be written" in lines[0]
    assert lines[1] == "refused"
    assert lines[2].endswith("is written again, and nothing is missing")
    journal = SqliteJournal(tmp_path / "a.journal")
    assert [row.task_id for row in journal.read_ids(0)][:2] == [1001, 1002]
    journal.close()
