"""What may go wrong with an answer of the make-believe service: the one table of faults, and their particulars.

How each is acted out stands in `simulator`; those on the wire in `http_server` and `memory_transport`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import attrs

from omgmj.errors import UsageError

FAULTS: Mapping[str, str] = {
    "drop_before_headers": "the connection is dropped before anything was answered",
    "drop_after_headers": "the connection is dropped when the headers are out",
    "cut_short": "half of the body that Content-Length promises, then the connection is closed",
    "bad_chunk": "a chunked answer whose second chunk has a bad size; the connection stays open and silent",
    "silence": "never an answer; the connection stays open",
    "slow": "the right answer, `seconds` late, as it was when it was asked for",
    "empty_body": "HTTP 200 and no body",
    "html_200": "HTTP 200 and an HTML page",
    "html_502": "HTTP 502 and an HTML page",
    "html_520": "HTTP 520 and an HTML page",
    "not_object": "HTTP 200 and JSON that is no object",
    "array_data": "HTTP 200, code 200, and an empty list for the record",
    "code_402": "HTTP 200, and 402 in the body: the balance is not enough",
    "framework_404": "HTTP 404 as a web framework says it, in JSON without the envelope",
    "html_404": "HTTP 404 and an HTML page",
    "framework_405": "HTTP 405 as a web framework says it, in JSON without the envelope",
    "html_410": "HTTP 410 and an HTML page",
    "redirect_301": "HTTP 301 to another host, which does not exist",
    "redirect_308": "HTTP 308 to another host, which does not exist",
    "odd_envelope": "the right answer with its code, and the ID of a new task, as strings of digits",
    "odd_fields": "records, also those of a page, whose fields are of other types and in other writings",
    "fractional_progress": "records, also those of a page, whose progress is a number with a fraction",
    "other_task": "the record of another task of the account",
    "no_image_yet": "a finished record before its image and its actions are there",
    "wrong_type": "a record whose `field` (else progress) holds `value` (else an object)",
    "unknown_status": "a record that has not ended, with a status word that nobody knows",
    "backwards": "an earlier state of the same task",
    "stuck_progress": "a running task's progress as it was told last",
    "code_400": "HTTP 200, and 400 in the body, with a message that says nothing about the task",
    "null_data": "HTTP 200, code 200, and null for the record",
    "not_found": "HTTP 404 with the envelope",
    "unauthorized": "HTTP 401 with the envelope",
    "forbidden": "HTTP 403 with the envelope",
    "forbidden_html": "HTTP 403 and an HTML page",
    "rate_limited": "HTTP 429 without Retry-After",
    "rate_limited_seconds": "HTTP 429 with Retry-After in `seconds`",
    "rate_limited_date": "HTTP 429 with Retry-After as a date `seconds` ahead of the answer's own Date",
    "rate_limited_zero": "HTTP 429 with Retry-After: 0",
    "rate_limited_huge": "HTTP 429 with Retry-After of some thirty years",
    "server_error": "HTTP 500 with the envelope",
    "unavailable": "HTTP 503 and an HTML page",
    "list_forbidden": "the list only: HTTP 403 with the envelope",
    "list_error": "the list only: HTTP 500 with the envelope",
    "list_wrong_shape": "a page whose fields have other names than `total` and `tasks`",
    "list_duplicates": "a page with a record that stands there twice",
    "list_twice": "a page with an ID twice, in an earlier state and then as it is",
    "list_foreign_shape": "a page with every second record in another account's shape: fields missing and renamed",
    "list_total_lies": "a page with a wrong `total`",
    "list_empty": "a page without records where there are some",
    "webhook_lost": "a call to a webhook that is never made",
    "webhook_late": "a call to a webhook `seconds` later",
    "webhook_swapped": "a call to a webhook after the next one for the same task",
}
"""Every fault by name, and what it does."""
OF_RECORDS = frozenset({"wrong_type", "unknown_status", "backwards", "stuck_progress", "other_task", "no_image_yet"})
"""Those that befall a query's record, and nothing else."""
OF_ANY_RECORD = frozenset({"odd_fields", "fractional_progress"})
"""Those that befall a query's record or all records of a page, and nothing else."""
OF_LIST = frozenset(name for name in FAULTS if name.startswith("list_"))
"""Those that befall a page of the list, and nothing else."""
OF_WEBHOOKS = frozenset(name for name in FAULTS if name.startswith("webhook_"))
"""Those that befall a call to a webhook, and nothing else."""
Act = Literal["drop_before_headers", "drop_after_headers", "cut_short", "bad_chunk", "silence"]
"""Those on the wire: what is done to the connection beside, or instead of, answering."""
ACTS: Mapping[str, Act] = {act: act for act in get_args(Act)}
CALLS = ("queries", "pages", "submissions")
"""What a fault can be kept to: queries of one task, pages of the list, requests that make a task."""

# What is answered instead of what was asked for: HTTP status, code and message; or HTTP status, content type and body.
ENVELOPES: Mapping[str, tuple[int, int, str]] = {
    "code_400": (200, 400, "the request failed"),
    "code_402": (200, 402, "insufficient balance"),
    "null_data": (200, 200, "Success"),
    "not_found": (404, 404, "the task was not found"),
    "unauthorized": (401, 401, "the token is not valid"),
    "forbidden": (403, 403, "this token may not do that"),
    "rate_limited": (429, 429, "too many requests"),
    "rate_limited_seconds": (429, 429, "too many requests"),
    "rate_limited_date": (429, 429, "too many requests"),
    "rate_limited_zero": (429, 429, "too many requests"),
    "rate_limited_huge": (429, 429, "too many requests"),
    "server_error": (500, 500, "internal error"),
    "list_forbidden": (403, 403, "this token may not list tasks"),
    "list_error": (500, 500, "internal error"),
}
JSON = "application/json; charset=utf-8"
HTML = "text/html; charset=utf-8"
_PAGE = b"<!DOCTYPE html>\n<html><head><title>Error</title></head><body>This is a proxy's page.</body></html>\n"
BODIES: Mapping[str, tuple[int, str, bytes]] = {
    "empty_body": (200, JSON, b""),
    "not_object": (200, JSON, b'["Success"]'),
    "array_data": (200, JSON, b'{"statusCode":200,"message":"Success","data":[]}'),
    "redirect_301": (301, HTML, _PAGE),
    "redirect_308": (308, HTML, _PAGE),
    "framework_404": (404, "application/json", b'{"detail":"Not Found"}'),
    "html_404": (404, HTML, _PAGE),
    "framework_405": (405, "application/json", b'{"detail":"Method Not Allowed"}'),
    "html_410": (410, HTML, _PAGE),
    "html_200": (200, HTML, _PAGE),
    "html_502": (502, HTML, _PAGE),
    "html_520": (520, HTML, _PAGE),
    "forbidden_html": (403, HTML, _PAGE),
    "unavailable": (503, HTML, _PAGE),
}
MAKES_NONE = frozenset(
    {name for name, (_, code, _) in ENVELOPES.items() if code != 200}
    | {name for name, (status, _, _) in BODIES.items() if status >= 300}
)
"""Those that refuse a submission: no task is made. All others befall the answer, when the task has been made."""

FIELDS = (
    "taskId", "taskType", "status", "action", "progress", "description", "prompt", "failReason", "submitTime",
    "startTime", "finishTime", "webhookUrl", "imageDcUrl", "imageS3Url", "actions",
)  # fmt: skip
"""The fields of a record."""
LONGEST = 1e9
"""Seconds that a fault may take or ask for at most."""


def _check_range(name: str, value: object, most: float) -> None:
    if not isinstance(value, int | float) or not 0 <= value <= most:
        raise UsageError(f"{name} must be a number from 0 to {most:g}, not {value!r}")


def _check_name(_fault: object, _field: object, name: str) -> None:
    if not isinstance(name, str) or name not in FAULTS:
        raise UsageError(f"there is no fault {name!r}; the faults are: {', '.join(FAULTS)}")


def _check_field(_fault: object, _field: object, field: str) -> None:
    if field not in FIELDS:
        raise UsageError(f"a record has no field {field!r}; its fields are: {', '.join(FIELDS)}")


def _check_only(fault: Fault, _field: object, only: str | None) -> None:
    if only is None:
        return
    if only not in CALLS:
        raise UsageError(f"a fault can be kept to {', '.join(CALLS)}; not to {only!r}")
    if (
        fault.name in OF_WEBHOOKS
        or (fault.name in OF_LIST and only != "pages")
        or (fault.name in OF_RECORDS and only != "queries")
        or (fault.name in OF_ANY_RECORD and only == "submissions")
    ):
        raise UsageError(f"{fault.name} never befalls {only}")


@attrs.frozen
class Fault:
    """A fault of `FAULTS` with its particulars; wherever one is taken, its bare name is too.

    `only` keeps it to `"queries"`, `"pages"` or `"submissions"`.
    """

    name: str = attrs.field(validator=_check_name)
    seconds: float = attrs.field(
        default=2.0, kw_only=True, validator=lambda _, field, value: _check_range(field.name, value, LONGEST)
    )
    field: str = attrs.field(default="progress", kw_only=True, validator=_check_field)
    value: Any = attrs.field(factory=lambda: {"not": "what it should be"}, kw_only=True, hash=False)
    only: str | None = attrs.field(default=None, kw_only=True, validator=_check_only)


FaultShares = Mapping[str, float] | Mapping[Fault, float] | Mapping[str | Fault, float]


def as_fault(fault: str | Fault) -> Fault:
    """Return the fault that is meant by its name or by itself."""
    return fault if isinstance(fault, Fault) else Fault(fault)


def check_shares(faults: FaultShares) -> dict[Fault, float]:
    """Return the share of each fault; `UsageError` where one is no share or they come to more than 1."""
    if not isinstance(faults, Mapping):
        raise UsageError(f"faults must map each fault to its share, not be {faults!r}")
    for fault, share in faults.items():
        _check_range(f"the share of {fault!r}", share, 1)
    shares = {as_fault(fault): share for fault, share in faults.items()}
    if sum(shares.values()) > 1 + 1e-9:
        raise UsageError(f"the shares of the faults come to {sum(shares.values()):g}, which is more than 1")
    return shares
