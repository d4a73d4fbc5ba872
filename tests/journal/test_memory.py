"""Both journals keep the same promises; the one in memory outlives its session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from omgmj.journal.account import Account
from omgmj.journal.journal import PAGE, PAGE_SIZE, Changes, IdRow, Journal, SubmissionRow
from omgmj.journal.memory import MemoryJournal
from omgmj.journal.sqlite import SqliteJournal
from tests.journal.rows import ids_of, submissions_of

LARGEST = 2**63 - 1


@pytest.fixture(params=["memory", "sqlite"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Journal]:
    found: Journal = MemoryJournal() if request.param == "memory" else SqliteJournal(tmp_path / "a.journal")
    yield found
    found.close()


def test_ids_come_back_ascending(journal: Journal) -> None:
    """Whatever order they came in, up to the largest, page by page; a page is bounded."""
    journal.write(Changes(held={LARGEST, 3, *range(10, 10 + 2 * PAGE)}, contexts={7: '"c"'}))
    page = journal.read_ids(0)
    assert page[:2] == [IdRow(3, None), IdRow(7, '"c"')]
    assert len(page) == PAGE
    assert list(ids_of(journal)) == sorted(ids_of(journal)) == [3, 7, *range(10, 10 + 2 * PAGE), LARGEST]


def test_a_page_of_large_contexts_is_short(journal: Journal) -> None:
    """Contexts of megabytes are read a few at a time."""
    large = f'"{"x" * PAGE_SIZE}"'
    journal.write(Changes(contexts=dict.fromkeys(range(1, 4), large)))
    assert [len(journal.read_ids(after)) for after in (0, 1, 3)] == [1, 1, 0]
    journal.write(Changes(intents=[SubmissionRow(key, "{}", large) for key in (1, 2)]))
    assert [len(journal.read_submissions(after)) for after in (0, 1, 2)] == [1, 1, 0]


def test_the_last_word_counts(journal: Journal) -> None:
    """What goes and comes again in one batch is new; what is only held keeps its context."""
    journal.write(Changes(contexts={1: '"a"', 2: '"b"', 3: '"c"'}))
    journal.write(Changes(gone={1, 2}, contexts={3: '"d"'}, held={1, 3, 4}))
    assert ids_of(journal) == {1: None, 3: '"d"', 4: None}


def test_submissions_come_and_go(journal: Journal) -> None:
    """An intent gets its ID, and goes by it or by its key."""
    journal.write(Changes(intents=[SubmissionRow(key, "{}", f'"{key}"') for key in range(1, 5)]))
    assert journal.read_made() == (set(), 4)
    journal.write(Changes(made={1: 11, 2: 12, 99: 13}))
    assert journal.read_made() == ({11, 12}, 4)
    journal.write(Changes(settled={11}, dropped={4}))
    assert submissions_of(journal) == [SubmissionRow(2, "{}", '"2"', 12), SubmissionRow(3, "{}", '"3"', None)]
    assert journal.read_made() == ({12}, 3)


def test_an_id_without_a_context_has_its_submissions(journal: Journal) -> None:
    """Its own comes first."""
    journal.write(Changes(intents=[SubmissionRow(1, "{}", '"made"'), SubmissionRow(2, "{}", '"other"')]))
    journal.write(Changes(made={1: 11, 2: 12}, held={11}, contexts={12: '"own"'}))
    assert ids_of(journal) == {11: '"made"', 12: '"own"'}


def test_the_account_is_kept(journal: Journal) -> None:
    """The latest one."""
    assert journal.read_account() is None
    for account in (Account("h", "s"), Account("h", "s", ("a", "b"), "mine")):
        journal.write(Changes(account=account))
        assert journal.read_account() == account


def test_to_close_twice_is_no_error(journal: Journal) -> None:
    """Whoever comes last."""
    journal.close()
    journal.close()


def test_a_journal_in_memory_outlives_its_session() -> None:
    """What was written is there for the next session, whether the first was closed or not."""
    journal = MemoryJournal(account="mine")
    journal.write(Changes(held={1}))
    journal.close()
    assert ids_of(journal) == {1: None}
    assert journal.account_name == "mine"
    assert journal.name == "the journal in memory"


def test_later_changes_follow_earlier_ones() -> None:
    """Two batches taken together say what the one after the other would."""
    first = Changes(gone={1}, contexts={2: '"a"', 3: '"b"'}, held={4}, made={1: 11}, dropped={5})
    first.follow_with(Changes(gone={2, 4}, contexts={1: '"c"'}, held={2}, settled={11}, account=Account("h", "s")))
    assert first == Changes(
        gone={1, 2, 4},
        contexts={1: '"c"', 3: '"b"'},
        held={2},
        made={1: 11},
        settled={11},
        dropped={5},
        account=Account("h", "s"),
    )
