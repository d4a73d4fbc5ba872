"""Pages of the account's list: what an answer shows, and each of its records by itself.

Whether an answer is a success is judged in `responses`, which order the list has is known to who reads it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, cast

from omgmj.errors import DecodeError, TransportError
from omgmj.models import Task, TaskPage, read_task
from omgmj.protocol.messages import Answer
from omgmj.protocol.responses import data_of, dumps, record_id
from omgmj.records import UNTOLD, Oddities
from omgmj.wire_values import ID_LIMIT, json_type, number_of

PAGE_LOOKED_AT = 1000
"""Records of a page that are looked at: a page of the service has 20."""


class Records(NamedTuple):
    """What a page of the account's list shows: `records` as they came, none of them judged yet, newest first.

    `total` is how many tasks the service says there are; None where it does not say, and never to be relied on.
    """

    total: int | None
    records: list[Any]


def read_records(answer: Answer, odd: Oddities = UNTOLD) -> Records:
    """Return what an answer to `page_request` shows, or raise what the answer says instead.

    Only the outer shape is judged, with a `DecodeError` where there is no list of tasks, and a `TransportError` where
    it is the answer to another call; the records are for `record_id` and `read_record`. Of very many the first are
    taken. `AuthError`, `RateLimited` or a plain `ServiceError` where the answer is no success.
    """
    data: Any = data_of(answer)
    if type(data) is not dict:
        raise DecodeError(f"$.data is {json_type(data)}, not an object", field="$.data", body=answer.body)
    data = cast("dict[str, Any]", data)
    records: Any = data.get("tasks")
    if "tasks" not in data and "taskId" in data:
        raise TransportError("the answer is about one task, while a page of tasks was asked for")
    if not isinstance(records, list):
        what = f"is {json_type(records)}, not a list" if "tasks" in data else "is missing"
        raise DecodeError(f"$.data.tasks {what}", field="$.data.tasks", body=answer.body)
    if len(records) > PAGE_LOOKED_AT:
        odd.note("tasks", f"has {len(records)} records on one page, of which the first {PAGE_LOOKED_AT} are read")
    total = number_of(data.get("total"))
    is_number = total is not None and -ID_LIMIT <= total < ID_LIMIT
    return Records(total if is_number else None, records[:PAGE_LOOKED_AT])


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
