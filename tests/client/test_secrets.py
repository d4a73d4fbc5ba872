"""Secrets: what is a token at all, and that one shows itself to nobody."""

from __future__ import annotations

import pickle

import pytest

from omgmj.client.secrets import Secret
from omgmj.errors import UsageError


@pytest.mark.parametrize("value", ["", " ", "a b", "a\nb", "schlüssel", "a\x7f", "\ud83d", None, 5, b"x"])
def test_what_is_no_token(value: object) -> None:
    """A token that is missing or not one run of visible ASCII is refused, by a text that says where to put it."""
    with pytest.raises(UsageError, match="OMGMJ_TOKEN") as caught:
        Secret(value)  # type: ignore[arg-type]
    assert "schlüssel" not in str(caught.value)


def test_a_secret_shows_itself_to_nobody() -> None:
    """A secret is in no repr, str, format or pickle; it is revealed by name only, and scrubs texts."""
    secret = Secret("sk-xyz-0123")
    assert "sk-xyz-0123" not in f"{secret} {secret!r} {[secret]} {secret!s:>20}"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(secret, protocol)
    assert secret.reveal() == "sk-xyz-0123"
    assert secret.scrub("no sk-xyz-0123 here") == "no *** here"
    assert secret.scrub_bytes(b"no sk-xyz-0123 here") == b"no *** here"
    assert (secret == Secret("sk-xyz-0123"), secret == Secret("other"), secret == "sk-xyz-0123") == (True, False, False)
    assert hash(secret) == hash(Secret("sk-xyz-0123"))


@pytest.mark.parametrize("spelling", [r'sk-47/x+\y"', r"sk-47\/x+\\y\"", r"sk\u002D47/x\u002b\\y\u0022"])
def test_a_secret_is_found_as_json_may_spell_it(spelling: str) -> None:
    """A secret is taken out of a JSON text also where that writes a character in another way."""
    secret = Secret(r'sk-47/x+\y"')
    for _ in range(2):
        assert secret.scrub(rf'{{"a\n": "no {spelling} here"}}') == r'{"a\n": "no *** here"}'
        assert secret.scrub_bytes(f"no {spelling} here\xff".encode("latin-1")) == b"no *** here\xff"
    assert Secret("short").scrub(r"sh\u006frt short") == r"sh\u006frt short"
