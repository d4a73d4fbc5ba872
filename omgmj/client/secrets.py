"""Secrets: the token is in no repr, format or pickle, and is taken out of the texts of others."""

from __future__ import annotations

import re
from typing import Any

from omgmj.errors import UsageError
from omgmj.validation import check_token

SHORTEST = 8
"""Letters that a secret must have to be looked for in a text: one of fewer is no real one, and stands in every word."""


class Secret:
    """A string that is shown only where it is revealed by name."""

    __slots__ = ("__spelled", "__value")

    def __init__(self, value: str) -> None:
        """Keep `value`; `UsageError` unless it is one run of visible ASCII characters."""
        try:
            self.__value = check_token(value)
        except UsageError as error:
            raise error.with_traceback(None) from None  # Whose variables hold what was to be a token.
        finally:
            del value
        self.__spelled: re.Pattern[str] | None = None

    def reveal(self) -> str:
        """Return the string itself."""
        return self.__value

    def scrub(self, text: str) -> str:
        """Return `text` with the secret taken out, should it stand there, also as JSON may spell it."""
        if len(self.__value) < SHORTEST:
            return text
        text = text.replace(self.__value, "***")
        if "\\" not in text:
            return text
        if self.__spelled is None:
            # Nobody writes a letter or a digit in another way, and where it begins with some it is found fast.
            ways = (
                letter if letter.isalnum() else rf"(?:\\?{re.escape(letter)}|\\u00(?i:{ord(letter):02x}))"
                for letter in self.__value
            )
            self.__spelled = re.compile("".join(ways))
        return self.__spelled.sub("***", text)

    def scrub_bytes(self, data: bytes) -> bytes:
        """Return `data` with the secret taken out, should it stand there, also as JSON may spell it."""
        return self.scrub(data.decode("latin-1")).encode("latin-1")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.__value == other.reveal()

    def __hash__(self) -> int:
        return hash(self.__value)

    def __repr__(self) -> str:
        return "Secret('***')"

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError("a Secret is not pickled")
