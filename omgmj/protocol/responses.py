"""What an answer means: a model or one of our errors. Status codes, headers and JSON are read here and nowhere else.

What a record's fields mean is known in `records`, bytes are moved by `client`, and what an error means to a wait is in
`failures`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, NamedTuple, cast

from omgmj.errors import (
    AuthError,
    DecodeError,
    RateLimited,
    ServiceError,
    TaskNotFound,
    UsageError,
)
from omgmj.models import Task, TaskPage, read_task
from omgmj.protocol.failures import is_about_task
from omgmj.protocol.messages import Answer
from omgmj.records import ID_LIMIT, bare_record, json_type
from omgmj.validation import check_task_id


class Records(NamedTuple):
    """What a page of the account's list shows: `records` as they came, none of them judged yet, newest first.

    `total` is how many tasks the service says there are; None where it does not say, and never to be relied on.
    """

    total: int | None
    records: list[Any]


# The words by which a refusal says that there is no such task, compared in lower case. The service's own words are
# not documented.
_UNKNOWN_TASK = ("not found", "not exist", "n't exist", "no such", "不存在", "找不到", "未找到")
_SHOWN = 200


def read_query(answer: Answer, asked: int) -> Task:
    """Return the record in an answer to `query_request(asked)`, or raise what the answer says instead.

    `DecodeError` where a field is of a wrong type; `AuthError`, `RateLimited`, `TaskNotFound` or a plain
    `ServiceError` where the answer is no success.
    """
    envelope = _envelope(answer)
    code = envelope.get("statusCode", 200)
    data = envelope.get("data")
    if code == 200 and 200 <= answer.status < 300 and data is not None:
        return read_task(data, asked=asked, source=answer.body)
    message, facts = _facts(answer, envelope)
    error = _refusal(answer, facts, code=code, message=message)
    if type(error) is ServiceError and _is_unknown_task(error, data):
        text = f"the service knows no task {asked} ({facts})"
        raise TaskNotFound(text, status=error.status, code=code, message=message, retry_after=error.retry_after)
    raise error


def read_created(answer: Answer) -> int:
    """Return the ID of the task that a submission made, or raise what the answer says instead.

    `DecodeError` where a success holds no ID, or anything else holds one; `AuthError`, `RateLimited` or a plain
    `ServiceError` where the answer is no success. Which of these leave open whether there is a task now, `is_refusal`
    tells.
    """
    envelope = _envelope(answer)
    code = envelope.get("statusCode", 200)
    data: Any = envelope.get("data")
    is_success = code == 200 and 200 <= answer.status < 300
    if type(data) is int and 0 < data < ID_LIMIT:
        if is_success:
            return int(data)
        message, facts = _facts(answer, envelope)
        raise DecodeError(f"$.data is {data}, but this is no success ({facts})", field="$.data", body=answer.body)
    if not is_success:
        message, facts = _facts(answer, envelope)
        raise _refusal(answer, facts, code=code, message=message)
    what = f"is {json_type(data)}, not a task's ID" if type(data) is not int else "is not a task's ID"
    raise DecodeError(f"$.data {what}", field="$.data", body=answer.body)


def read_source(source: bytes, asked: int) -> Task:
    """Read again what a task's `source` holds: the bare record, or the answer round it."""
    value: Any = loads(source)
    return read_task(bare_record(value), asked=asked, source=source)


def read_records(answer: Answer) -> Records:
    """Return what an answer to `page_request` shows, or raise what the answer says instead.

    Only the outer shape is judged, with a `DecodeError` where there is no list of tasks; the records are for
    `record_id` and `read_record`. `AuthError`, `RateLimited` or a plain `ServiceError` where the answer is no success.
    """
    envelope = _envelope(answer)
    code = envelope.get("statusCode", 200)
    if code != 200 or not 200 <= answer.status < 300:
        message, facts = _facts(answer, envelope)
        raise _refusal(answer, facts, code=code, message=message)
    data: Any = envelope.get("data")
    if not isinstance(data, dict):
        raise DecodeError(f"$.data is {json_type(data)}, not an object", field="$.data", body=answer.body)
    data = cast("dict[str, Any]", data)
    records: Any = data.get("tasks")
    if not isinstance(records, list):
        what = f"is {json_type(records)}, not a list" if "tasks" in data else "is missing"
        raise DecodeError(f"$.data.tasks {what}", field="$.data.tasks", body=answer.body)
    total: Any = data.get("total")
    is_number = type(total) is int and -ID_LIMIT <= total < ID_LIMIT
    return Records(total if is_number else None, records)


def record_id(record: object) -> int | None:
    """Return the ID that a record of a page names, without reading the rest; None where it names none."""
    task_id: Any = cast("dict[str, Any]", record).get("taskId") if type(record) is dict else None
    return task_id if type(task_id) is int and 0 < task_id < ID_LIMIT else None


def read_record(record: object, asked: int | None = None, path: str = "$") -> Task:
    """Read a record of a page as strictly as `read_query` does; `DecodeError` names the field below `path` that is off.

    The source of the task, and the body of the error, is the record alone, written anew.
    """
    try:
        return read_task(record, asked=asked, source=dumps(record, path=path), path=path)
    except DecodeError as error:
        error.task_id = record_id(record) or asked
        raise


def read_page(answer: Answer, number: int, size: int) -> TaskPage:
    """Return the tasks in an answer to `page_request(number, size)`, or raise what `read_records` and `read_record` do.

    Of records with the same ID the later one counts, at the place of the first.
    """
    total, records = read_records(answer)
    tasks: dict[int, Task] = {}
    for index, record in enumerate(records):
        try:
            task = read_record(record, path=f"$.data.tasks[{index}]")
        except DecodeError as error:
            error.args = (f"{error}, on page {number}",)
            error.body = answer.body
            raise
        tasks[task.id] = task
    return TaskPage(number, size, total, tuple(tasks.values()))


def read_hint(payload: Mapping[str, Any] | bytes | str) -> int:
    """Return the ID of the task that a webhook's body is about; `UsageError` where it names none.

    The service posts the bare record. Nothing signs it, so nothing else of it is believed.
    """
    value: Any = payload
    if isinstance(payload, str | bytes):
        try:
            value = loads(payload.encode() if isinstance(payload, str) else payload)
        except (DecodeError, UnicodeEncodeError):
            value = None
    if not isinstance(value, Mapping) or "taskId" not in value:
        raise UsageError("a webhook's body is a JSON object with a taskId; this is none")
    return check_task_id(value["taskId"])


def _envelope(answer: Answer) -> dict[str, Any]:
    """Return the service's envelope, `statusCode` missing or an int; raise where the body is none."""
    if 300 <= answer.status < 400:
        target = _printable(answer.headers.get("location", ""))
        raise _refusal(answer, f"HTTP {answer.status}, redirects to {target or 'nowhere'}; is the base URL right?")
    try:
        value: Any = loads(answer.body)
    except DecodeError:
        raise _refusal(answer, f"HTTP {answer.status}, {_excerpt(answer.body)}{_base_url_hint(answer)}") from None
    succeeded = 200 <= answer.status < 300
    if type(value) is dict:
        code = value.get("statusCode")
        if type(code) is int and -ID_LIMIT <= code < ID_LIMIT:
            envelope: dict[str, Any] = value
            return envelope
        if code is None and succeeded and "data" in value:
            return {"data": value["data"], "message": value.get("message")}
        if code is not None and succeeded:
            field = "$.statusCode"
            what = f"{field} is {json_type(code)}, not a whole number in range"
            raise DecodeError(what, field=field, body=answer.body)
        message = _message(value)
        what = f"JSON without the service's statusCode: {_words(answer, value)}"
    else:
        message, what = "", f"JSON, but {json_type(value)} and not the service's object"
    raise _refusal(answer, f"HTTP {answer.status}, {what}{_base_url_hint(answer)}", message=message)


def _facts(answer: Answer, envelope: dict[str, Any]) -> tuple[str, str]:
    """Return what an envelope that is no success says: its own words, and all that there is for a message of ours."""
    code = envelope.get("statusCode", 200)
    return _message(envelope), f"HTTP {answer.status}, code {code}: {_words(answer, envelope)}"


def _message(value: dict[str, Any]) -> str:
    """Return the body's own words, empty where it has none."""
    said = value.get("message")
    return said if isinstance(said, str) else ""


def _words(answer: Answer, value: dict[str, Any]) -> str:
    """Return the body's own words for a message of ours; of a body that has them elsewhere its beginning."""
    if "message" in value:
        return _printable(_message(value)) or "no message"
    return f"no message, but {_printable(answer.body[: 4 * _SHOWN].decode(errors='replace'))}"


def _is_unknown_task(error: ServiceError, data: object) -> bool:
    """Judge whether an envelope says that there is no such task.

    Its words say so, or its null where no words say otherwise: a refusal for another reason has no data either.
    """
    if error.code == 200 and 200 <= error.status < 300:
        return True
    if not is_about_task(error.status, error.code):
        return False
    said = error.message.lower()
    return any(words in said for words in _UNKNOWN_TASK) or (data is None and (error.code == 200 or not said.strip()))


def _refusal(answer: Answer, facts: str, *, code: int | None = None, message: str = "") -> ServiceError:
    """Make the error for an answer that is no success. A 403 without an envelope comes from something in front."""
    told = (answer.status, code)
    kind, lead = ServiceError, "the service did not answer as it should"
    if 401 in told or (403 in told and code is not None):
        kind, lead = AuthError, "the service does not take the token"
    elif 429 in told:
        kind, lead = RateLimited, "too many requests"
    elif code is not None:
        lead = "the service refused"
    hint = retry_after(answer.headers)
    return kind(f"{lead} ({facts})", status=answer.status, code=code, message=message, retry_after=hint)


def _excerpt(body: bytes) -> str:
    """Say what a body is that is no JSON."""
    start = body[:_SHOWN].strip()
    if not start:
        return "an empty body"
    if start.startswith(b"<"):
        return "an HTML page and not the service's JSON"
    return f"{len(body)} bytes that are not JSON: {_printable(start[:40].decode('ascii', 'replace'))}"


def _base_url_hint(answer: Answer) -> str:
    """Add a question where a host answers that seems not to be the service."""
    return "; is the base URL right?" if answer.status == 404 else ""


def _printable(text: str) -> str:
    """Return `text` cut short and on one line, fit for a message."""
    line = " ".join(text[: 4 * _SHOWN].split())
    line = "".join(character if character.isprintable() else "?" for character in line)
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"


# Headers: when an answer was made, and for how long the service asks to be left alone. Names are in lower case.

_DAY = 86_400.0
_AHEAD = 5.0  # seconds by which the clocks of one service may differ
_EPOCH = 1e9  # seconds: nobody asks to be left alone for 30 years
_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds for which the service asks to be left alone, None where it does not say.

    The header holds seconds, a date, or the epoch second of one, as some gateways send it. A date counts from the
    answer's own `Date`, and is 0 where it has passed.
    """
    text = headers.get("retry-after")
    if text is None:
        return None
    until: float | None = None
    if _SECONDS.fullmatch(text.strip()):
        until = float(text)
        if until < _EPOCH:
            return until
    elif (moment := _http_date(text)) is not None:
        until = moment.timestamp()
    now = served_at(headers)
    return max(0.0, until - now.timestamp()) if until is not None and math.isfinite(until) and now is not None else None


def served_at(headers: Mapping[str, str]) -> datetime | None:
    """Return when the service answered, by its own clock; None where it does not say."""
    text = headers.get("date")
    return None if text is None else _http_date(text)


def ages(headers: Mapping[str, str], *moments: datetime | None) -> tuple[float | None, ...]:
    """Return the seconds from moments of a record to its answer, all by the service's clock; None where not told.

    A moment some seconds ahead, or more than a day ago, is taken for a clock, or a time zone, that is off.
    """
    text = headers.get("date")
    now = None if text is None else _http_date(text)
    found: list[float | None] = []
    for moment in moments:
        seconds = math.nan if now is None or moment is None else (now - moment).total_seconds()
        found.append(max(0.0, seconds) if -_AHEAD <= seconds <= _DAY else None)
    return tuple(found)


@lru_cache(maxsize=64)
def _http_date(text: str) -> datetime | None:
    """Read an HTTP date; the cache is for the many answers of one second."""
    try:
        moment = parsedate_to_datetime(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


# JSON.


def _plain_dumps(value: object) -> bytes:
    """Write in ASCII, so that a lone surrogate, which UTF-8 has no bytes for, is written as it came."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")


_quick_loads: Callable[[bytes], object]
_quick_dumps: Callable[[object], bytes]
try:
    from orjson import dumps as _quick_dumps
    from orjson import loads as _quick_loads
except ImportError:
    _quick_loads, _quick_dumps = json.loads, _plain_dumps


def loads(body: bytes) -> object:
    """Read `body` as JSON; `DecodeError` with the field `$` where that cannot be.

    What orjson refuses (lone surrogates, a byte-order mark, NaN, UTF-16, numbers beyond a float) is tried with the
    standard library's json, so that both ways of installing this package read the same answers.
    """
    try:
        return _quick_loads(body)
    except (ValueError, RecursionError):
        pass
    try:
        value: object = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"the body cannot be read as JSON: {error}", body=body) from None
    return value


def dumps(value: object, *, path: str = "$") -> bytes:
    """Write what `loads` read as JSON again; `DecodeError` with the field `path` where it is nested too deeply.

    What orjson refuses (lone surrogates, deep nesting, integers beyond 64 bits) is tried with the standard library's
    json.
    """
    try:
        return _quick_dumps(value)
    except (TypeError, ValueError, RecursionError):
        pass
    try:
        return _plain_dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise DecodeError(f"{path} cannot be written as JSON again: {error}", field=path) from None
