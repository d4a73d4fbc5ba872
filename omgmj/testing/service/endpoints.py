"""The endpoints of the make-believe service: one table of paths, and each request read to the letter.

What is not to the letter is refused, with what is wrong. Pure, with its own copy of the contract of requests. Bodies
are read in `request_bodies`; `simulator` answers.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from typing import NamedTuple
from urllib.parse import urlsplit

import attrs

from omgmj.testing.service.actions import made_by
from omgmj.testing.service.request_bodies import (
    Refusal,
    read_fields,
    read_image,
    read_list,
    read_urlencoded,
    unpack,
)

ROOT = "/api/v1/ai/draw/mj/"
QUERY = ROOT + "query"
LIST = ROOT + "query-mj-tasks"
IMAGINE = ROOT + "imagine"
ACTION = ROOT + "action"
BLEND = ROOT + "blend"
DESCRIBE = ROOT + "describe"
PAGE_SIZE = 12
"""Records on a page where the request does not say."""
_NUMBER = re.compile("[1-9][0-9]{0,18}")
_SUBMISSION = frozenset({"type", "webhook"})


class Form(NamedTuple):
    """The form of an endpoint: fields that it must have and may have, and the kind of task that it makes.

    An empty kind makes none, or is told by the custom ID that is sent.
    """

    must: frozenset[str]
    may: frozenset[str] = frozenset()
    kind: str = ""


_FORMS: Mapping[str, Form] = {
    QUERY: Form(frozenset({"model", "taskId"})),
    LIST: Form(frozenset({"model"})),
    IMAGINE: Form(frozenset({"model", "prompt"}), _SUBMISSION | {"base64Array"}, "IMAGINE"),
    ACTION: Form(frozenset({"model", "taskId", "customId"}), _SUBMISSION | {"base64Mask"}),
    BLEND: Form(frozenset({"model", "base64Array"}), _SUBMISSION | {"dimensions"}, "BLEND"),
    DESCRIBE: Form(frozenset({"model", "base64"}), _SUBMISSION, "DESCRIBE"),
}
DIMENSIONS: Mapping[str, tuple[int, int]] = {"PORTRAIT": (2, 3), "SQUARE": (1, 1), "LANDSCAPE": (3, 2)}
"""The shapes that a blend may have: width and height, as a ratio."""
_IMAGES = re.compile(r"base64Array\[\d{0,3}\]")
"""How some form writers name the fields of a list."""


class ListPage(NamedTuple):
    """Which page of the list is asked for."""

    number: int
    size: int


@attrs.frozen
class Submission:
    """A task that is to be made: by which call, with which fields.

    `fields` are those that were sent, save `model`; for each image there stands what it was, not its data, and
    `base64Array` is a tuple.
    """

    path: str
    fields: Mapping[str, str | tuple[str, ...]]

    def text(self, name: str) -> str:
        """Return the field `name`, one that is not repeated; empty where it was left out."""
        return str(self.fields.get(name, ""))

    @property
    def kind(self) -> str:
        """The kind of task that is to be made."""
        return _FORMS[self.path].kind or made_by(self.text("customId"))

    @property
    def pool(self) -> str:
        """The pool that was asked for; FAST where none was."""
        return self.text("type") or "FAST"


Asked = int | ListPage | Submission
"""What a request asks for: the record of an ID, a page of the list, or a new task."""


def read_request(method: str, path: str, headers: Mapping[str, str], body: bytes, tokens: Collection[str]) -> Asked:
    """Return what is asked for; the reasons of a refusal name what is wrong and quote no value."""
    place, mark, query = path.partition("?")
    if place not in _FORMS or (mark and place != LIST):
        raise Refusal(404, f"there is no path {place!r} (any query is left out here)")
    if method != "POST":
        raise Refusal(405, f"the method must be POST, not {method!r}")
    _check_token(headers, tokens)
    content_type = headers.get("content-type", "")
    fields = read_fields(content_type, unpack(headers.get("content-encoding", ""), body))
    fields = [("base64Array" if _IMAGES.fullmatch(name) else name, value) for name, value in fields]
    # What need not be there may be empty.
    fields = [(name, value) for name, value in fields if value or name not in _FORMS[place].may]
    if place == BLEND and content_type.lower().startswith("multipart/"):
        # One public client repeats its token in this form.
        fields = [(name, value) for name, value in fields if name != "token"]
    # The one field that may be repeated.
    images = tuple(value for name, value in fields if name == "base64Array")
    if images:
        fields = [*((name, value) for name, value in fields if name != "base64Array"), ("base64Array", "")]
    form = _check_fields("form", fields, _FORMS[place].must, _FORMS[place].may)
    if form.pop("model") != "midjourney":
        raise Refusal(400, "the model must be midjourney")
    if "taskId" in form and not _NUMBER.fullmatch(form["taskId"]):
        raise Refusal(400, "taskId must be a number in digits")
    if place == QUERY:
        return int(form["taskId"])
    return _read_page(query.encode(errors="surrogatepass")) if place == LIST else _read_submission(place, form, images)


def _check_token(headers: Mapping[str, str], tokens: Collection[str]) -> None:
    authorization = headers.get("authorization")
    if authorization is None:
        raise Refusal(401, "there is no Authorization header")
    scheme, _, token = authorization.partition(" ")
    if scheme != "Bearer":
        raise Refusal(401, "the Authorization header does not begin with 'Bearer '")
    if token not in tokens:
        raise Refusal(401, "the token is not one of those accepted")


def _check_fields(
    what: str, fields: list[tuple[str, str]], must: AbstractSet[str], may: AbstractSet[str]
) -> dict[str, str]:
    """Return the fields by name, if those are there that must, and no others than may, each once."""
    form = dict(fields)
    if len(form) < len(fields):
        raise Refusal(400, f"a field of the {what} stands there twice")
    missing = must - form.keys()
    if missing:
        raise Refusal(400, f"missing from the {what}: {', '.join(sorted(missing))}")
    unknown = form.keys() - must - may
    if unknown:
        raise Refusal(400, f"unknown in the {what}: {', '.join(sorted(unknown))}")
    return form


def _read_page(query: bytes) -> ListPage:
    """Return the page that a query asks for; `pageSize` may be missing."""
    try:
        fields = read_urlencoded("", query)
    except ValueError:
        raise Refusal(400, "the query cannot be read as one") from None
    form = _check_fields("query", fields, {"page"}, {"pageSize"})
    number, size = form["page"], form.get("pageSize", str(PAGE_SIZE))
    if not _NUMBER.fullmatch(number):
        raise Refusal(400, "page must be a number in digits, from 1")
    if not re.fullmatch("[5-9]|1[0-9]|20", size):
        raise Refusal(400, "pageSize must be a number from 5 to 20")
    return ListPage(int(number), int(size))


def _read_submission(place: str, form: dict[str, str], given: tuple[str, ...]) -> Submission:
    """Return what is to be made, if each field is to the letter."""
    images = tuple(read_image("base64Array", uri) for value in given for uri in read_list("base64Array", value))
    for name in ("base64", "base64Mask"):
        if name in form:
            form[name] = read_image(name, form[name])
    if not form.get("prompt", "a prompt").strip():
        raise Refusal(400, "the prompt is empty")
    if form.get("type", "FAST") not in {"NORMAL", "FAST"}:
        raise Refusal(400, "type must be NORMAL or FAST")
    if form.get("dimensions", "SQUARE") not in DIMENSIONS:
        raise Refusal(400, "dimensions must be PORTRAIT, SQUARE or LANDSCAPE")
    if place == BLEND and not 2 <= len(images) <= 5:
        raise Refusal(400, f"base64Array must hold 2 to 5 images, not {len(images)}")
    if "base64Mask" in form and "::Inpaint::" not in form["customId"]:
        raise Refusal(400, "base64Mask goes with a customId of Inpaint only")
    if "webhook" in form and not is_web(form["webhook"]):
        raise Refusal(400, "webhook must be an http or https URL")
    return Submission(place, {**form, "base64Array": images} if images else form)


def is_web(url: object) -> bool:
    """Whether it is an http or https URL with a host."""
    if not isinstance(url, str):
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        return False


def scrub(reason: str, headers: Mapping[str, str]) -> str:
    """Return `reason` in some 200 characters, and without the token, should it stand where it does not belong."""
    token = headers.get("authorization", "").rpartition(" ")[2]
    return (reason.replace(token, "***") if len(token) >= 8 else reason)[:200]
