"""What the make-believe service is sent, read to the letter: what is not is refused, with what is wrong.

Pure, with its own copy of the contract of requests; `simulator` answers them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl

QUERY = "/api/v1/ai/draw/mj/query"
LIST = "/api/v1/ai/draw/mj/query-mj-tasks"
PAGE_SIZE = 12
"""Records on a page where the request does not say."""


class ListPage(NamedTuple):
    """Which page of the list is asked for."""

    number: int
    size: int


class Refusal(Exception):
    """A request that is not to the letter: the HTTP status of the answer, and why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def read_request(
    method: str, path: str, headers: Mapping[str, str], body: bytes, tokens: Collection[str]
) -> int | ListPage:
    """Return the ID or page that is asked for; the reasons of a refusal name what is wrong and quote no value."""
    place, _, query = path.partition("?")
    if path != QUERY and place != LIST:
        raise Refusal(404, f"there is no path {place!r} (any query is left out here)")
    if method != "POST":
        raise Refusal(405, f"the method must be POST, not {method!r}")
    authorization = headers.get("authorization")
    if authorization is None:
        raise Refusal(401, "there is no Authorization header")
    scheme, _, token = authorization.partition(" ")
    if scheme != "Bearer":
        raise Refusal(401, "the Authorization header does not begin with 'Bearer '")
    if token not in tokens:
        raise Refusal(401, "the token is not one of those accepted")
    content_type = headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise Refusal(415, f"the content type must be application/x-www-form-urlencoded, not {content_type!r}")
    if place == LIST:
        _read_form("form", body, {"model"})
        return _read_page(query.encode())
    form = _read_form("form", body, {"model", "taskId"})
    if not re.fullmatch("[1-9][0-9]{0,18}", form["taskId"]):
        raise Refusal(400, "taskId must be a number in digits")
    return int(form["taskId"])


def _read_form(what: str, text: bytes, names: set[str], optional: str = "") -> dict[str, str]:
    """Return the fields of a form, or of a query in its writing, if it is to the letter."""
    try:
        fields = parse_qsl(text.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError:
        raise Refusal(400, f"the {what} cannot be read as one") from None
    form = dict(fields)
    if len(form) < len(fields):
        raise Refusal(400, f"a field of the {what} stands there twice")
    missing = names - form.keys() - {optional}
    if missing:
        raise Refusal(400, f"missing from the {what}: {', '.join(sorted(missing))}")
    unknown = form.keys() - names
    if unknown:
        raise Refusal(400, f"unknown in the {what}: {', '.join(sorted(unknown))}")
    if form.get("model", "midjourney") != "midjourney":
        raise Refusal(400, "the model must be midjourney")
    return form


def _read_page(query: bytes) -> ListPage:
    """Return the page that a query asks for; `pageSize` may be missing."""
    form = _read_form("query", query, {"page", "pageSize"}, optional="pageSize")
    number, size = form["page"], form.get("pageSize", str(PAGE_SIZE))
    if not re.fullmatch("[1-9][0-9]{0,18}", number):
        raise Refusal(400, "page must be a number in digits, from 1")
    if not re.fullmatch("[5-9]|1[0-9]|20", size):
        raise Refusal(400, "pageSize must be a number from 5 to 20")
    return ListPage(int(number), int(size))


def scrub(reason: str, headers: Mapping[str, str]) -> str:
    """Return `reason` in some 200 characters, and without the token, should it stand where it does not belong."""
    token = headers.get("authorization", "").rpartition(" ")[2]
    return (reason.replace(token, "***") if len(token) >= 8 else reason)[:200]
