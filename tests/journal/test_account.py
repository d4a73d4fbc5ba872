"""Whose journal it is: known by host, tokens and name."""

from __future__ import annotations

import pytest

from omgmj.errors import JournalError
from omgmj.journal.account import KEPT, Account, check_account

HOST = "a.test"


def account(*tokens: str, name: str | None = None) -> Account:
    found = check_account(None, (HOST,), tokens[0], name)
    for token in tokens:
        found = found.with_token(token)
    return found


def test_a_new_journal_learns_whose_it_is() -> None:
    """The first host and token are taken, and the same ones are the same account afterwards."""
    first = account("sk-one")
    assert first.host == HOST
    assert first.knows("sk-one")
    assert not first.knows("sk-two")
    assert check_account(first, (HOST,), "sk-one", None) == first


def test_a_mirror_is_the_same_host() -> None:
    """A service of several addresses has the journals of each of them."""
    first = account("sk-one")
    assert check_account(first, ("mirror.test", HOST), "sk-one", None) == first


def test_a_token_that_was_never_taken_is_no_account() -> None:
    """Until the service has taken a token, any may go on."""
    fresh = check_account(None, (HOST,), "sk-wrong", None)
    assert check_account(fresh, (HOST,), "sk-one", None) == fresh


def test_no_token_is_kept() -> None:
    """A fingerprint shows nothing of the token, and differs from journal to journal."""
    one, other = account("sk-one"), account("sk-one")
    assert "sk-one" not in repr(one)
    assert one.fingerprints != other.fingerprints


def test_another_host_is_refused() -> None:
    """The same token at another host is another account."""
    with pytest.raises(JournalError, match=r"another host: a\.test, not b\.test, c\.test"):
        check_account(account("sk-one"), ("b.test", "c.test"), "sk-one", None)


def test_an_unknown_token_is_refused_with_advice() -> None:
    """Who has a new token for the same account is told how to say so; no token is shown."""
    with pytest.raises(JournalError, match='account="a name of yours"') as caught:
        check_account(account("sk-one"), (HOST,), "sk-two", None)
    assert "sk-" not in str(caught.value)
    with pytest.raises(JournalError, match="account='mine'"):
        check_account(account("sk-one", name="mine"), (HOST,), "sk-two", None)


def test_a_name_decides_in_place_of_the_token() -> None:
    """With the same name any token will do, and is known once the service took it, also without the name."""
    first = account("sk-one", name="mine")
    second = check_account(first, (HOST,), "sk-two", "mine").with_token("sk-two")
    assert second.knows("sk-one")
    assert second.knows("sk-two")
    assert check_account(second, (HOST,), "sk-two", None) == second


def test_a_name_is_taken_where_there_was_none() -> None:
    """A journal without a name takes the first that is given, whatever the token."""
    assert check_account(account("sk-one"), (HOST,), "sk-two", "mine").name == "mine"


def test_another_name_is_refused() -> None:
    """Also with the same token."""
    with pytest.raises(JournalError, match="of the account 'mine', not 'yours'"):
        check_account(account("sk-one", name="mine"), (HOST,), "sk-one", "yours")


def test_the_latest_tokens_are_kept() -> None:
    """Of many tokens that follow each other the first are forgotten."""
    tokens = [f"sk-{number}" for number in range(KEPT + 2)]
    found = account(*tokens)
    assert [found.knows(token) for token in tokens] == [False] * 2 + [True] * KEPT
    assert found.with_token(tokens[-1]) is found
