"""What an answer means: a model or one of our errors. Status codes are judged here and nowhere else.

Records are read in `codec`, bytes are moved by `client`, and what an error means to a wait is in `failures`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
from omgmj.protocol.codec import dumps, loads
from omgmj.protocol.failures import is_about_task
from omgmj.protocol.headers import retry_after
from omgmj.protocol.messages import Answer
from omgmj.records import UNTOLD, Oddities, bare_record
from omgmj.validation import check_task_id
from omgmj.wire_values import ID_LIMIT, id_of, json_type, number_of


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
_KEPT = 4000
"""Characters of the service's own words that an error keeps."""
PAGE_LOOKED_AT = 1000
"""Records of a page that are looked at: a page of the service has 20."""
# What a gateway in front of the service says no with, before the service has read anything.
_TURNED_AWAY = frozenset({400, 403, 404, 405, 409, 415, 422})


def read_query(answer: Answer, asked: int, odd: Oddities = UNTOLD) -> Task:
    """Return the record in an answer to `query_request(asked)`, or raise what the answer says instead.

    `DecodeError` where it cannot be read, `TransportError` where it is about another task; `AuthError`, `RateLimited`,
    `TaskNotFound` or a plain `ServiceError` where the answer is no success. What is odd is told to `odd`.
    """
    envelope = _envelope(answer)
    code = envelope.get("statusCode", 200)
    data = envelope.get("data")
    if code == 200 and 200 <= answer.status < 300 and data is not None:
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


def read_source(source: bytes, asked: int) -> Task:
    """Read again what a task's `source` holds: the bare record, or the answer round it."""
    value: Any = loads(source)
    return read_task(bare_record(value), asked=asked, source=source)


def read_records(answer: Answer, odd: Oddities = UNTOLD) -> Records:
    """Return what an answer to `page_request` shows, or raise what the answer says instead.

    Only the outer shape is judged, with a `DecodeError` where there is no list of tasks; the records are for
    `record_id` and `read_record`. Of very many the first are taken. `AuthError`, `RateLimited` or a plain
    `ServiceError` where the answer is no success.
    """
    envelope = _envelope(answer)
    code = envelope.get("statusCode", 200)
    if code != 200 or not 200 <= answer.status < 300:
        message, facts = _facts(answer, envelope)
        raise _refusal(answer, facts, code=code, message=message)
    data: Any = envelope.get("data")
    if type(data) is not dict:
        raise DecodeError(f"$.data is {json_type(data)}, not an object", field="$.data", body=answer.body)
    data = cast("dict[str, Any]", data)
    records: Any = data.get("tasks")
    if not isinstance(records, list):
        what = f"is {json_type(records)}, not a list" if "tasks" in data else "is missing"
        raise DecodeError(f"$.data.tasks {what}", field="$.data.tasks", body=answer.body)
    if len(records) > PAGE_LOOKED_AT:
        odd.note("tasks", f"has {len(records)} records on one page, of which the first {PAGE_LOOKED_AT} are read")
    total = number_of(data.get("total"))
    is_number = total is not None and -ID_LIMIT <= total < ID_LIMIT
    return Records(total if is_number else None, records[:PAGE_LOOKED_AT])


def record_id(record: object) -> int | None:
    """Return the ID that a record of a page names, without reading the rest; None where it names none."""
    return id_of(cast("dict[str, Any]", record).get("taskId")) if type(record) is dict else None


def records_by_id(records: Iterable[Any], odd: Oddities) -> dict[int, Any]:
    """Return the records of a page by the IDs that they name; one that names none is left out, and told to `odd`."""
    by_id: dict[int, Any] = {}
    for record in records:
        task_id = record_id(record)
        if task_id is None:
            odd.note("tasks", "holds a record that is left out, as it names no task", ".taskId")
        else:
            by_id[task_id] = record
    return by_id


def read_record(record: object, asked: int | None = None, path: str = "$", odd: Oddities = UNTOLD) -> Task:
    """Read a record of a page as `read_query` does; `DecodeError` names the field below `path` that it is refused for.

    The source of the task, and the body of the error, is the record alone, written anew.
    """
    try:
        return read_task(record, asked=asked, source=dumps(record, path=path), path=path, odd=odd)
    except DecodeError as error:
        error.task_id = record_id(record) or asked
        raise


def read_page(answer: Answer, number: int, size: int, odd: Oddities = UNTOLD) -> TaskPage:
    """Return the tasks in an answer to `page_request(number, size)`, or raise what `read_records` does.

    A record that cannot be read is left out, and told to `odd`; where there are several, and all are so, the list is of
    another shape, which is a `DecodeError`. Of records with the same ID the later one counts, at the place of the
    first.
    """
    total, records = read_records(answer, odd)
    tasks: dict[int, Task] = {}
    wrong: DecodeError | None = None
    for index, record in enumerate(records):
        try:
            task = read_record(record, path=f"$.data.tasks[{index}]", odd=odd)
        except DecodeError as error:
            wrong = wrong or error
            odd.note(f"tasks[{index}]", f"is left out: {error}", error.field.rpartition("]")[2])
        else:
            tasks[task.id] = task
    if wrong is not None and not tasks and len(records) > 1:
        text = f"{wrong}, and no other record of page {number} can be read either"
        raise DecodeError(text, field=wrong.field, body=answer.body)
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
        envelope: dict[str, Any] = value
        told = envelope.get("statusCode")
        if type(told) is int and -ID_LIMIT <= told < ID_LIMIT:
            return envelope
        if (code := _code(told)) is not None:
            return {**envelope, "statusCode": code}
        # One that cannot be read keeps no data from its user; without data it is no success.
        data = envelope.get("data")
        if succeeded and ("data" in envelope if told is None else data is not None):
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
