"""What is sent and what an answer means: each request as a value, each answer as a model or one of our errors.

Status codes are judged here and nowhere else, and so is what an error means to a wait. Records are read in `codec`,
bytes are moved by `transport`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Request(NamedTuple):
    """One call to the service, without host and token. `idempotent`: whether it may be sent again."""

    method: str
    path: str
    body: bytes
    idempotent: bool


class Answer(NamedTuple):
    """What came back. `headers` holds those of `KEPT_HEADERS` that the answer had, under lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes


KEPT_HEADERS = ("date", "retry-after", "content-type", "content-length", "location")
FORM = "application/x-www-form-urlencoded"
