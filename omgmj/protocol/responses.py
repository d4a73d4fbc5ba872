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
from typing import Any, cast

from omgmj.errors import (
    AuthError,
    DecodeError,
    RateLimited,
    ServiceError,
    TaskNotFound,
    TransportError,
)
from omgmj.models import Task, read_task
from omgmj.protocol.failures import is_about_task
from omgmj.protocol.messages import Answer
from omgmj.records import UNTOLD, Oddities, bare_record
from omgmj.wire_values import ID_LIMIT, id_of, json_type, number_of

# The words by which a refusal says that there is no such task, compared in lower case. The service's own words are
# not documented.
_UNKNOWN_TASK = ("not found", "not exist", "n't exist", "no such", "不存在", "找不到", "未找到")
_SHOWN = 200
_KEPT = 4000
"""Characters of the service's own words that an error keeps."""
# What a gateway in front of the service says no with, before the service has read anything.
_TURNED_AWAY = frozenset({400, 403, 404, 405, 409, 415, 422})


def read_query(answer: Answer, asked: int, odd: Oddities = UNTOLD) -> Task:
    """Return the record in an answer to `query_request(asked)`, or raise what the answer says instead.

    `DecodeError` where it cannot be read, `TransportError` where it is about another task or the answer to another
    call; `AuthError`, `RateLimited`, `TaskNotFound` or a plain `ServiceError` where it is no success. What is odd is
    told to `odd`.
    """
    envelope = _envelope(answer)
    code = envelope.get("statusCode", 200)
    data = envelope.get("data")
    if code == 200 and 200 <= answer.status < 300 and data is not None:
        if type(data) is dict and "taskId" not in data and "tasks" in data:
            raise TransportError(f"the answer is a page of tasks, while task {asked} was asked for")
        return read_task(data, asked=asked, source=answer.body, odd=odd)
    message, facts = _facts(answer, envelope)
    error = _refusal(answer, facts, code=code, message=message)
    if type(error) is ServiceError and _is_unknown_task(error, data):
        text = f"the service knows no task {asked} ({facts})"
        raise TaskNotFound(text, status=error.status, code=code, message=message, retry_after=error.retry_after)
    raise error


def read_created(answer: Answer) -> int:
    """Return the ID of the task that a submission made, or raise what the answer says instead.

    The ID is the data, as a number or in digits, or stands as `taskId` in it. `DecodeError` where a success holds no
    ID, or anything else holds one; `AuthError`, `RateLimited` or a plain `ServiceError` where the answer is no success.
    Which of these leave open whether there is a task now, `is_refusal` and `is_turned_away` tell.
    """
    envelope = _envelope(answer)
    code = envelope.get("statusCode", 200)
    data: Any = envelope.get("data")
    is_success = code == 200 and 200 <= answer.status < 300
    task_id = record_id(data) or id_of(data)
    if task_id is not None:
        if is_success:
            return task_id
        message, facts = _facts(answer, envelope)
        raise DecodeError(f"$.data is {task_id}, but this is no success ({facts})", field="$.data", body=answer.body)
    if not is_success:
        message, facts = _facts(answer, envelope)
        raise _refusal(answer, facts, code=code, message=message)
    what = f"is {json_type(data)}, not a task's ID" if type(data) is not int else "is not a task's ID"
    raise DecodeError(f"$.data {what}", field="$.data", body=answer.body)


def is_turned_away(answer: Answer) -> bool:
    """Whether a gateway in front of the service says no, in JSON of its own: the service has not read the request."""
    if answer.status not in _TURNED_AWAY:
        return False
    try:
        value = loads(answer.body)
    except DecodeError:
        return False
    return type(value) is dict and "statusCode" not in value and "data" not in value


def data_of(answer: Answer) -> object:
    """Return the data of an answer that is a success, or raise what it says instead."""
    envelope = _envelope(answer)
    code = envelope.get("statusCode", 200)
    if code != 200 or not 200 <= answer.status < 300:
        message, facts = _facts(answer, envelope)
        raise _refusal(answer, facts, code=code, message=message)
    return envelope.get("data")


def record_id(record: object) -> int | None:
    """Return the ID that a record of a page names, without reading the rest; None where it names none."""
    return id_of(cast("dict[str, Any]", record).get("taskId")) if type(record) is dict else None


def read_source(source: bytes, asked: int) -> Task:
    """Read again what a task's `source` holds: the bare record, or the answer round it."""
    value: Any = loads(source)
    return read_task(bare_record(value), asked=asked, source=source)


def _envelope(answer: Answer) -> dict[str, Any]:
    """Return the service's envelope, `statusCode` missing or an int; raise where the body is none."""
    if 300 <= answer.status < 400:
        target = _printable(answer.headers.get("location", ""))
        raise _refusal(answer, f"HTTP {answer.status}, redirects to {target or 'nowhere'}; is the base URL right?")
    try:
        value: Any = loads(answer.body)
    except DecodeError:
        raise _refusal(answer, f"HTTP {answer.status}, {_excerpt(answer.body)}{_base_url_hint(answer)}") from None
    if type(value) is dict:
        envelope: dict[str, Any] = value
        told = envelope.get("statusCode")
        if type(told) is int and -ID_LIMIT <= told < ID_LIMIT:
            return envelope
        if (code := _code(told)) is not None:
            return {**envelope, "statusCode": code}
        # One that cannot be read keeps no data from its user; without data it is no success.
        data = envelope.get("data")
        if 200 <= answer.status < 300 and ("data" in envelope if told is None else data is not None):
            return {"data": data, "message": envelope.get("message")}
        message = _message(envelope)
        what = f"JSON without the service's statusCode: {_words(answer, envelope)}"
    else:
        message, what = "", f"JSON, but {json_type(value)} and not the service's object"
    raise _refusal(answer, f"HTTP {answer.status}, {what}{_base_url_hint(answer)}", message=message)


def _code(told: object) -> int | None:
    """Return a statusCode that is a string of digits, or a whole float; None where it is neither."""
    code = int(told) if type(told) is float and told.is_integer() else number_of(told)
    return code if code is not None and -ID_LIMIT <= code < ID_LIMIT else None


def _facts(answer: Answer, envelope: dict[str, Any]) -> tuple[str, str]:
    """Return what an envelope that is no success says: its own words, and all that there is for a message of ours."""
    code = envelope.get("statusCode", 200)
    return _message(envelope), f"HTTP {answer.status}, code {code}: {_words(answer, envelope)}"


def _message(value: dict[str, Any]) -> str:
    """Return the body's own words, cut where they are very many, empty where it has none."""
    said = value.get("message")
    return said[:_KEPT] if isinstance(said, str) else ""


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

    Below 0 where the moment is ahead, as the clocks of one service may differ. A moment that is more than a day off is
    taken for a clock, or a time zone, that tells nothing.
    """
    text = headers.get("date")
    now = None if text is None else _http_date(text)
    found: list[float | None] = []
    for moment in moments:
        seconds = math.nan if now is None or moment is None else (now - moment).total_seconds()
        found.append(seconds if abs(seconds) <= _DAY else None)
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


def _number(digits: str) -> float:
    """Read a whole number as orjson does, to which one beyond 64 bits is a float."""
    number = int(digits)
    return number if -(2**63) <= number < 2**64 else float(digits)


_plain = json.JSONDecoder(parse_int=_number)


def _plain_loads(body: bytes) -> object:
    return _plain.decode(body.decode(json.detect_encoding(body), "surrogatepass"))


_quick_loads: Callable[[bytes], object]
_quick_dumps: Callable[[object], bytes]
try:
    from orjson import dumps as _quick_dumps
    from orjson import loads as _quick_loads
except ImportError:
    _quick_loads, _quick_dumps = _plain_loads, _plain_dumps


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
        return _plain_loads(body)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"the body cannot be read as JSON: {error}", body=body) from None


def dumps(value: object, *, path: str = "$") -> bytes:
    """Write what `loads` read as JSON again; `DecodeError` with the field `path` where it is nested too deeply.

    What orjson refuses (lone surrogates, deep nesting, integers beyond 64 bits) is tried with the standard library's
    json.
    """
    try:
        # A copy: what orjson returns holds on to the much larger buffer that it was written in.
        return bytes(bytearray(_quick_dumps(value)))
    except (TypeError, ValueError, RecursionError):
        pass
    try:
        return _plain_dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise DecodeError(f"{path} cannot be written as JSON again: {error}", field=path) from None


BRIEF = 2000
"""Characters of a text in a brief record."""


def dump_brief(task: Task) -> bytes:
    """Return a record that is too large to be kept, as JSON: its short values alone."""
    record = {name: value for name, value in task.to_dict().items() if name != "actions" and len(str(value)) <= BRIEF}
    return dumps(record)
