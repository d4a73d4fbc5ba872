"""Whose journal it is: the host, and an account, known by salted fingerprints of its tokens or by a name.

Another account's IDs would come to an end as unknown, and be forgotten: such a journal is refused.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection

import attrs

from omgmj.errors import JournalError

KEPT = 8
"""Fingerprints of the latest tokens that are kept."""
_LENGTH = 16


@attrs.frozen
class Account:
    """An account at a host. `fingerprints` are those of its latest tokens; `name` is what its user calls it."""

    host: str
    salt: str
    fingerprints: tuple[str, ...] = ()
    name: str | None = None

    def with_token(self, token: str) -> Account:
        """Return this account, by which `token` is known; the very same where it was."""
        fingerprint = self._fingerprint(token)
        if fingerprint in self.fingerprints:
            return self
        return attrs.evolve(self, fingerprints=(*self.fingerprints, fingerprint)[-KEPT:])

    def knows(self, token: str) -> bool:
        """Whether `token` is one of this account's."""
        return self._fingerprint(token) in self.fingerprints

    def _fingerprint(self, token: str) -> str:
        return hashlib.sha256(f"{self.salt}{token}".encode()).hexdigest()[:_LENGTH]


def check_account(stored: Account | None, hosts: Collection[str], token: str, name: str | None) -> Account:
    """Return the account to store; `JournalError` where the journal is another's.

    Where `name` is given it decides in place of the token. None stored: the journal is new. It is of no account until
    the service has taken a token.
    """
    if stored is None:
        return Account(next(iter(hosts)), secrets.token_hex(16), name=name)
    if stored.host not in hosts:
        raise JournalError(
            f"this journal is of another host: {stored.host}, not {', '.join(hosts)}; use a file for each"
        )
    if name is None and stored.fingerprints and not stored.knows(token):
        raise JournalError(
            "this journal was written with another token. Another account's tasks would be taken for unknown, and be"
            f" forgotten: use a file for each account. If it is the same account, say so: {_advice(stored)}"
        )
    if name is not None and stored.name is not None and name != stored.name:
        raise JournalError(f"this journal is of the account {stored.name!r}, not {name!r}; use a file for each")
    return attrs.evolve(stored, name=name or stored.name)


def _advice(stored: Account) -> str:
    if stored.name is None:
        return 'give the journal account="a name of yours", and the token decides no more'
    return f"give the journal account={stored.name!r}, as before"
