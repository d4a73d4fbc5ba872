"""`protocol`: what is sent, what each answer means, and what each error means to a wait."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qsl

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from omgmj.cli.json_lines import dump_record
from omgmj.errors import (
    AuthError,
    DecodeError,
    ExchangeTimeout,
    GaveUp,
    OmgmjError,
    RateLimited,
    ServiceError,
    SessionClosed,
    TaskNotFound,
    TransportError,
    UsageError,
)
from omgmj.models import Status, Task, TaskPage
from omgmj.protocol import responses
from omgmj.protocol.failures import Meaning, meaning
from omgmj.protocol.messages import KEPT_HEADERS, Answer, Request, page_request, query_request
from omgmj.protocol.pages import read_page, read_record, read_records, records_by_id
from omgmj.protocol.responses import (
    ages,
    read_query,
    read_source,
    record_id,
    retry_after,
)
from omgmj.records import Oddities

SAMPLE = (Path(__file__).parents[1] / "samples" / "query-response.json").read_bytes()
RECORD: dict[str, Any] = json.loads(SAMPLE)["data"]
DATE = "Thu, 31 Aug 2023 14:00:14 GMT"


def answer(body: object = SAMPLE, status: int = 200, /, **headers: str) -> Answer:
    """Make an answer; a body that is not bytes is written as JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


def envelope(code: object, message: object = "", data: object = None) -> dict[str, object]:
    """Make the service's envelope."""
    return {"statusCode": code, "message": message, "data": data}


def refusal(got: Answer, asked: int = 20) -> OmgmjError:
    """Return the error that an answer means."""
    with pytest.raises(OmgmjError) as caught:
        read_query(got, asked)
    return caught.value


def service_error(got: Answer) -> ServiceError:
    """Return the error of the service that an answer means."""
    error = refusal(got)
    assert isinstance(error, ServiceError)
    return error


def test_query_request() -> None:
    """A query is a POST of a form in bytes, and may be sent again."""
    request = query_request(3432)
    form = "application/x-www-form-urlencoded"
    assert tuple(request) == ("POST", "/api/v1/ai/draw/mj/query", b"model=midjourney&taskId=3432", True, form, 3432)
    assert dict(parse_qsl(request.body.decode())) == {"model": "midjourney", "taskId": "3432"}


def test_the_sample_is_a_task() -> None:
    """The recorded answer gives its record; the task keeps the whole answer as its source."""
    task = read_query(answer(), 20)
    assert (task.id, task.status, task.source, task.raw) == (20, Status.SUCCESS, SAMPLE, RECORD)


@pytest.mark.parametrize(
    "body",
    [
        {"data": RECORD},
        {"data": RECORD, "statusCode": None, "message": None},
        {**envelope(200, ["odd"], RECORD), "new": 1},
    ],
)
@pytest.mark.parametrize("status", [200, 201])
def test_a_success_may_lack_what_says_so(body: object, status: int) -> None:
    """Where HTTP says success, a missing or null statusCode is no failure, and the message may be anything."""
    task = read_query(answer(body, status), 20)
    assert task.raw == RECORD


HTML = b"<!DOCTYPE html>\n<html><title>502</title></html>"
NOT_FOUND = "Task not found"
# The table of answers: body, HTTP status, the error's exact class, its code, what it means to a wait.
JUDGED: list[tuple[object, int, type[ServiceError], int | None, Meaning]] = [
    # 401, as HTTP status or as code
    (HTML, 401, AuthError, None, Meaning.ACCOUNT),
    (b"", 401, AuthError, None, Meaning.ACCOUNT),
    (envelope(401, "bad key"), 401, AuthError, 401, Meaning.ACCOUNT),
    (envelope(401, "bad key"), 200, AuthError, 401, Meaning.ACCOUNT),
    (envelope(400, "user not found"), 401, AuthError, 400, Meaning.ACCOUNT),
    (envelope(401), 404, AuthError, 401, Meaning.ACCOUNT),
    # 403: with the envelope it is the service, without something in front of it
    (envelope(403, "no rights"), 403, AuthError, 403, Meaning.ACCOUNT),
    (envelope(400, "not found"), 403, AuthError, 400, Meaning.ACCOUNT),
    (envelope(403), 200, AuthError, 403, Meaning.ACCOUNT),
    (HTML, 403, ServiceError, None, Meaning.TRANSIENT),
    ({"message": "blocked"}, 403, ServiceError, None, Meaning.TRANSIENT),
    # 429, as HTTP status or as code
    (HTML, 429, RateLimited, None, Meaning.PACED),
    (envelope(429), 200, RateLimited, 429, Meaning.PACED),
    (envelope(400, "slow down"), 429, RateLimited, 400, Meaning.PACED),
    # this ID
    (envelope(200, "Success"), 200, TaskNotFound, 200, Meaning.UNKNOWN),
    ({"data": None}, 200, TaskNotFound, 200, Meaning.UNKNOWN),
    (envelope(400, NOT_FOUND), 200, TaskNotFound, 400, Meaning.UNKNOWN),
    (envelope(400, NOT_FOUND), 400, TaskNotFound, 400, Meaning.UNKNOWN),
    (envelope(400, "The task does NOT EXIST", {}), 200, TaskNotFound, 400, Meaning.UNKNOWN),
    (envelope(400, "No such task"), 200, TaskNotFound, 400, Meaning.UNKNOWN),
    (envelope(400, "任务不存在"), 200, TaskNotFound, 400, Meaning.UNKNOWN),
    (envelope(400, "找不到任务"), 200, TaskNotFound, 400, Meaning.UNKNOWN),
    (envelope(400, " "), 200, TaskNotFound, 400, Meaning.UNKNOWN),
    (envelope(404), 404, TaskNotFound, 404, Meaning.UNKNOWN),
    (envelope(404, "Not Found"), 404, TaskNotFound, 404, Meaning.UNKNOWN),
    (envelope(200, "Success"), 404, TaskNotFound, 200, Meaning.UNKNOWN),
    (envelope(404, "gone"), 200, ServiceError, 404, Meaning.REFUSED),
    (envelope(404, "Cannot POST"), 404, ServiceError, 404, Meaning.REFUSED),
    (envelope(400, "balance too low"), 200, ServiceError, 400, Meaning.REFUSED),
    (envelope(400, "", {}), 200, ServiceError, 400, Meaning.REFUSED),
    # the service, or the way to it
    (HTML, 200, ServiceError, None, Meaning.TRANSIENT),
    (HTML, 502, ServiceError, None, Meaning.TRANSIENT),
    (HTML, 404, ServiceError, None, Meaning.FINAL),
    ({"detail": "Not Found"}, 404, ServiceError, None, Meaning.FINAL),
    (HTML, 405, ServiceError, None, Meaning.FINAL),
    (b"gone", 410, ServiceError, None, Meaning.FINAL),
    (envelope(402, "insufficient balance"), 200, ServiceError, 402, Meaning.FINAL),
    (envelope(410, "retired"), 410, ServiceError, 410, Meaning.FINAL),
    (b"", 200, ServiceError, None, Meaning.TRANSIENT),
    (b"", 204, ServiceError, None, Meaning.TRANSIENT),
    (b"", 520, ServiceError, None, Meaning.TRANSIENT),
    (SAMPLE[:500], 200, ServiceError, None, Meaning.TRANSIENT),
    (b"[]", 200, ServiceError, None, Meaning.TRANSIENT),
    (b"null", 200, ServiceError, None, Meaning.TRANSIENT),
    ({}, 200, ServiceError, None, Meaning.TRANSIENT),
    ({"error": "x"}, 200, ServiceError, None, Meaning.TRANSIENT),
    ({"data": RECORD}, 500, ServiceError, None, Meaning.TRANSIENT),
    ({"statusCode": "500"}, 500, ServiceError, 500, Meaning.TRANSIENT),
    (envelope("400", NOT_FOUND), 200, TaskNotFound, 400, Meaning.UNKNOWN),
    (envelope("E1", "odd"), 200, ServiceError, None, Meaning.TRANSIENT),
    (envelope(200, "Success", RECORD), 500, ServiceError, 200, Meaning.TRANSIENT),
    (envelope(200, "Success", RECORD), 400, ServiceError, 200, Meaning.TRANSIENT),
    (envelope(400, NOT_FOUND), 500, ServiceError, 400, Meaning.TRANSIENT),
    (envelope(500, "down"), 200, ServiceError, 500, Meaning.TRANSIENT),
    (envelope(40001, "odd"), 200, ServiceError, 40001, Meaning.TRANSIENT),
    (envelope(200, "Success", RECORD), 302, ServiceError, None, Meaning.FINAL),
    (b"", 308, ServiceError, None, Meaning.FINAL),
]


@pytest.mark.parametrize(("body", "status", "kind", "code", "means"), JUDGED)
def test_the_table_of_answers(
    body: object, status: int, kind: type[ServiceError], code: int | None, means: Meaning
) -> None:
    """Each answer that is no success is one error of ours, and each error one meaning (the table of the design).

    A task that is not known is this ID's own matter, for a wait to believe after three polls only.
    """
    error = service_error(answer(body, status, retry_after="7"))
    assert type(error) is kind
    assert (error.status, error.code, error.retry_after) == (status, code, 7.0)
    assert meaning(error) is means
    assert meaning(error.about(20)) is means


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (envelope(200, "", {**RECORD, "status": 5}), "$.data.status"),
        (envelope(200, "", {**RECORD, "status": [True]}), "$.data.status"),
        (envelope(200, "", [RECORD]), "$.data"),
        (envelope(200, "", ""), "$.data"),
        (envelope("200", "", 5), "$.data"),
    ],
)
def test_a_field_of_a_wrong_type(body: object, field: str) -> None:
    """What is strict is a DecodeError with its name and the body; it is asked for again before it counts."""
    got = answer(body)
    error = refusal(got)
    assert isinstance(error, DecodeError)
    assert (error.field, error.body) == (field, got.body)
    assert meaning(error) is Meaning.GARBLED


@pytest.mark.parametrize("code", ["200", " ", "E", True, 200.0, 2**64, 1.5, [], {}])
def test_an_odd_code_keeps_no_record_from_its_user(code: object) -> None:
    """Where HTTP says success and there is a record, a code that cannot be read is no failure."""
    assert read_query(answer(envelope(code, "", RECORD)), 20).raw == RECORD


def test_a_record_of_another_task_is_a_fault_of_the_way() -> None:
    """An answer for another ID is a transport error, so that the poll is repeated, and never this ID's own fault."""
    for task_id in (21, "21", 2**63 - 1):
        error = refusal(answer(envelope(200, "", {**RECORD, "taskId": task_id})))
        assert type(error) is TransportError
        assert str(error) == f"the answer is about another task: {task_id}, while 20 was asked for"
        assert meaning(error) is Meaning.TRANSIENT


def test_the_answer_to_another_call_is_a_fault_of_the_way() -> None:
    """A page where a record was asked for is a transport error, and the other way round: neither is said of the ID."""
    with pytest.raises(TransportError, match=r"^the answer is a page of tasks, while task 20 was asked for$"):
        read_query(answer(page_of(listed(20), listed(19))), 20)
    for read in (read_records, lambda it: read_page(it, 1, 20)):
        with pytest.raises(TransportError, match=r"^the answer is about one task, while a page of tasks was"):
            read(answer(envelope(200, "", RECORD)))
    assert read_query(answer(envelope(200, "", {**RECORD, "tasks": []})), 20).raw["tasks"] == []


@pytest.mark.parametrize(
    ("got", "text"),
    [
        (answer(HTML, 502), "HTTP 502, an HTML page and not the service's JSON"),
        (answer(b" \r\n", 200), "HTTP 200, an empty body"),
        (answer(HTML, 404), "is the base URL right?"),
        (answer(b"", 301, location="https://example.com/x"), "redirects to https://example.com/x; is the base URL"),
        (answer(b"", 304), "redirects to nowhere"),
        (answer(b"OK \xff\x00"), "HTTP 200, 5 bytes that are not JSON: OK \ufffd?"),
        (answer(b"[1]"), "JSON, but a list and not the service's object"),
        (answer({"message": "who\nare you?"}), "without the service's statusCode: who are you?"),
        (answer({"error": {"text": "no quota"}}, 402), 'statusCode: no message, but {"error": {"text": "no quota"}}'),
        (answer({"message": None}, 402), "without the service's statusCode: no message"),
        (answer(b'{"statusCode":400,\n"msg":"bad"}'), 'code 400: no message, but {"statusCode":400, "msg":"bad"})'),
        (answer(envelope(401, "bad key")), "does not take the token (HTTP 200, code 401: bad key)"),
        (answer(envelope(429), 429), "too many requests (HTTP 429, code 429: no message)"),
        (answer(envelope(400, NOT_FOUND)), "knows no task 20 (HTTP 200, code 400: Task not found)"),
        (answer(envelope(400, "too\tlow\u202e")), "the service refused (HTTP 200, code 400: too low?)"),
    ],
)
def test_texts_help(got: Answer, text: str) -> None:
    """The text of an error says what came, on one line of printable characters, and what to look at."""
    said = str(refusal(got))
    assert text in said
    assert said.isprintable()


def test_texts_are_short() -> None:
    """The service's own words are cut in our texts, and kept whole beside them."""
    message = "x\n\ud83d" * 1000
    error = service_error(answer(envelope(400, message)))
    assert (error.message, len(str(error)) < 300, str(error).isprintable()) == (message, True, True)
    assert service_error(answer(envelope(400, "x" * 10**6))).message == "x" * 4000
    with pytest.raises(DecodeError) as caught:
        read_query(answer(envelope(200, "", ["x" * 10**6])), 20)
    assert len(caught.value.body) == 64 * 1024
    assert len(str(refusal(answer(b"", 302, location="x" * 5000)))) < 300


def no_such_host() -> TransportError:
    """Return the error of a transport that knows that asking again would not help."""
    error = TransportError("no such host")
    error.for_good = True
    return error


@pytest.mark.parametrize(
    ("error", "means"),
    [
        (UsageError("x"), Meaning.LOCAL),
        (SessionClosed("x"), Meaning.LOCAL),
        (TransportError("x"), Meaning.TRANSIENT),
        (no_such_host(), Meaning.FINAL),
        (ExchangeTimeout("x"), Meaning.TRANSIENT),
        (DecodeError("x"), Meaning.GARBLED),
        (ServiceError("x"), Meaning.TRANSIENT),
        (GaveUp("x"), Meaning.LOCAL),
        (RuntimeError("x"), Meaning.LOCAL),
        (asyncio.CancelledError(), Meaning.LOCAL),
    ],
)
def test_meaning_of_what_is_no_refusal(error: BaseException, means: Meaning) -> None:
    """A lost answer is transient; what is no answer of the service at all is raised as it is."""
    assert meaning(error) is means


def outcomes(got: Answer, asked: int = 20) -> list[Task | None]:
    """Read an answer with orjson and with json alone: the task, or None where it is an error of ours."""
    tasks: list[Task | None] = []
    for quick in (orjson.loads, responses._plain_loads):
        with patch.object(responses, "_quick_loads", quick):
            try:
                tasks.append(read_query(got, asked))
            except OmgmjError as error:
                assert str(error).isprintable(), repr(str(error))
                assert isinstance(meaning(error), Meaning)
                tasks.append(None)
    return tasks


def check(got: Answer, asked: int = 20) -> None:
    """Any answer gives a task or an error of ours; where both readers give a task, it is the same one."""
    quick, plain = outcomes(got, asked)
    if plain is not None:
        # What json reads, orjson reads, or json in its place; json alone may refuse nesting and numbers of thousands
        # of digits that orjson takes.
        assert quick == plain
        assert json.loads(dump_record(plain))["taskId"] is not None
    (age_or_none,) = ages(got.headers, None if quick is None else quick.started_at)
    assert age_or_none is None or age_or_none >= 0
    wait = retry_after(got.headers)
    assert wait is None or wait >= 0


headers = st.dictionaries(
    st.sampled_from(KEPT_HEADERS),
    st.text(st.characters(exclude_categories=())) | st.sampled_from([DATE, "5", "-1", "nan", "Thu, 31 Aug 2023"]),
)
statuses = st.sampled_from([200, 201, 204, 301, 400, 401, 403, 404, 429, 500, 502, 520]) | st.integers(-1, 1000)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(st.characters(exclude_categories=()))
    | st.sampled_from(["", "SUCCESS", "50%", "2023-08-31T13:59:14.000Z", "2023-08-31"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.binary(max_size=60), statuses, headers)
@example(b"[" * 100_000, 200, {})
@example(b'{"statusCode":200,"data":' * 20_000, 200, {})
@example(b'{"statusCode":200,"message":"","data":{"status":"SUCCESS","x":' + b"9" * 5000 + b"}}", 200, {})
@example(b'{"statusCode":200,"message":"","data":{"status":"SUCCESS","x":1e999}}', 200, {})
@example(b'{"statusCode":200,"message":"","data":{"status":"SUCCESS","x":NaN}}', 200, {})
@example(b'{"statusCode":200,"message":"","data":{"status":"SUCCESS","prompt":"\\ud83d"}}', 200, {})
@example(b"\xef\xbb\xbf" + SAMPLE, 200, {})
@example(SAMPLE.decode().encode("utf-16"), 200, {})
@example(b'{"statusCode":18446744073709551616,"data":{"status":"SUCCESS"}}', 403, {})
def test_any_bytes(body: bytes, status: int, kept: dict[str, str]) -> None:
    """Any bytes with any status and headers give a task or an error of ours, with json and orjson alike."""
    check(Answer(status, kept, body))


@pytest.mark.parametrize("depth", [900, 990, 1000, 1020, 1030, 2500, 5000, 9000, 20_000])
@pytest.mark.parametrize(("start", "end"), [(b"[", b"]"), (b'{"a":', b"}")], ids=["lists", "objects"])
def test_any_depth(depth: int, start: bytes, end: bytes) -> None:
    """Nesting that one reader takes and the other does not gives a task or an error of ours, as does writing it."""
    body = b'{"statusCode":200,"data":{"status":"SUCCESS","new":' + start * depth + b"1" + end * depth + b"}}"
    for task in outcomes(Answer(200, {}, body)):
        with contextlib.suppress(DecodeError):
            assert task is None or json.loads(dump_record(task))["taskId"] == 20


@given(st.dictionaries(st.sampled_from(["statusCode", "message", "data"]) | st.text(max_size=3), values), statuses)
def test_any_json(body: dict[str, Any], status: int) -> None:
    """Any JSON object gives a task or an error of ours, with json and orjson alike."""
    check(answer(body, status))


@given(
    st.dictionaries(st.sampled_from(list(RECORD)), values, max_size=3),
    st.sets(st.sampled_from(list(RECORD)), max_size=3),
    st.lists(st.dictionaries(st.sampled_from(["customId", "emoji", "label"]), values), max_size=2),
    statuses,
    st.sampled_from([200, 400, 404, 500, None]),
)
def test_any_mutation_of_the_sample(
    changes: dict[str, Any], missing: set[str], actions: list[dict[str, Any]], status: int, code: int | None
) -> None:
    """The sample with any fields changed or taken out gives a task or an error of ours, with both alike."""
    record = {**RECORD, "actions": RECORD["actions"] + actions, **changes}
    check(answer(envelope(code, "m", {name: value for name, value in record.items() if name not in missing}), status))


@settings(max_examples=300)
@given(st.integers(0, len(SAMPLE) - 1), st.integers(0, 40), st.binary(max_size=6))
def test_any_damage_to_the_sample(at: int, lost: int, put: bytes) -> None:
    """The sample with bytes lost, changed or put in gives a task or an error of ours, with both alike."""
    check(Answer(200, {"date": DATE}, SAMPLE[:at] + put + SAMPLE[at + lost :]))


def test_a_query_decodes_nothing_it_throws_away() -> None:
    """A query reads its body once; the raw record is decoded only when someone asks for it."""
    with patch.object(responses, "_quick_loads", wraps=orjson.loads) as reader, patch("json.loads") as plain:
        task = read_query(answer(), 20)
        assert (reader.call_count, plain.call_count) == (1, 0)
    assert task.raw == RECORD


@pytest.mark.parametrize("word", ["REVIEWING", "FAILED", "done", "\ud83d"])
def test_a_new_status_word_is_kept(word: str) -> None:
    """An unknown status word is kept and is no end, unless finishTime is set."""
    running = read_query(answer(envelope(200, "", {**RECORD, "status": word, "finishTime": None})), 20)
    assert (running.status, running.is_terminal, running.failed) == (word, False, False)
    ended = read_query(answer(envelope(200, "", {**RECORD, "status": word})), 20)
    assert (ended.is_terminal, ended.succeeded) == (True, False)


# Pages of the account's list.


def page_of(*records: object, **fields: object) -> dict[str, object]:
    """Make the body of a page."""
    return envelope(200, "Success", {"total": len(records), "tasks": list(records), **fields})


def listed(task_id: int | str, **changes: object) -> dict[str, object]:
    """Make a record of a page."""
    return {**RECORD, "taskId": task_id, **changes}


def test_page_request() -> None:
    """A page is asked for by a POST with its number and size in the query; it may be sent again."""
    path = "/api/v1/ai/draw/mj/query-mj-tasks?page=3&pageSize=12"
    assert page_request(3, 12) == Request("POST", path, b"model=midjourney", idempotent=True, subject="list")


def test_a_page_is_read() -> None:
    """The records of a page become tasks in their order, each with its own record as its source."""
    records = [listed(30), listed(29, progress="46%", status="IN_PROGRESS")]
    page = read_page(answer(page_of(*records, total=57)), 2, 20)
    assert (page.number, page.size, page.total) == (2, 20, 57)
    assert [(task.id, task.status, task.progress) for task in page.tasks] == [
        (30, "SUCCESS", 100),
        (29, "IN_PROGRESS", 46),
    ]
    assert [task.raw for task in page.tasks] == records
    assert page == TaskPage(2, 20, 57, page.tasks)
    assert hash(page)


def test_a_page_is_read_in_two_steps() -> None:
    """For who wants few of its records, a page gives them unjudged; each tells its ID, and is read by itself."""
    rows = [listed(30), {"taskId": "29"}, 5]
    total, records = read_records(answer(page_of(*rows)))
    assert (total, records) == (3, rows)
    assert [record_id(record) for record in records] == [30, 29, None]
    told: list[tuple[str, str]] = []
    by_id = records_by_id(records, Oddities(lambda *odd: told.append(odd)))
    assert by_id == {30: rows[0], 29: rows[1]}
    assert told == [("tasks", "holds a record that is left out, as it names no task")]
    assert read_record(records[0]).id == 30
    assert read_record({"status": "SUCCESS"}, asked=7).id == 7
    with pytest.raises(DecodeError) as caught:
        read_record({"taskId": 8, "status": 5}, path="$.data.tasks[1]")
    assert (caught.value.field, caught.value.task_id) == ("$.data.tasks[1].status", 8)
    assert caught.value.body == b'{"taskId":8,"status":5}'


@pytest.mark.parametrize(
    "record", [None, [], "x", {}, *({"taskId": bad} for bad in (None, "x", "²", True, 5.0, 0, 2**63))]
)
def test_a_record_that_names_no_id(record: object) -> None:
    """Reading a record's ID raises nothing, whatever the record is."""
    assert record_id(record) is None


def test_a_source_is_read_again() -> None:
    """What a task keeps as its source, the bare record or the answer round it, gives the task again."""
    whole = read_query(answer(), 20)
    bare = read_record(RECORD)
    assert read_source(whole.source, 20) == read_source(bare.source, 20) == whole == bare


def test_an_empty_page() -> None:
    """A page beyond the end is empty, and no error."""
    assert read_page(answer(page_of()), 9, 20).tasks == ()


def test_a_page_with_duplicates() -> None:
    """An ID that stands twice on a page is one task: the later record counts, at the place of the first."""
    running = listed(30, status="IN_PROGRESS", progress="46%")
    for first, second, status in ((running, listed(30), "SUCCESS"), (listed(30), running, "IN_PROGRESS")):
        page = read_page(answer(page_of(first, listed(29), second)), 1, 20)
        assert [(task.id, task.status) for task in page.tasks] == [(30, status), (29, "SUCCESS")]


@pytest.mark.parametrize(
    ("total", "told"),
    [(0, 0), (999, 999), (-1, -1), ("2", 2), *((bad, None) for bad in (None, "x", True, 2.5, 2**63, 10**30))],
)
def test_a_total_that_lies(total: object, told: int | None) -> None:
    """`total` is passed on as it came, None where it is no number, and what is on the page does not go by it."""
    page = read_page(answer(page_of(listed(30), listed(29), total=total)), 1, 20)
    assert (page.total, len(page.tasks)) == (told, 2)


def test_a_page_without_total() -> None:
    """A missing total is no error."""
    assert read_page(answer(envelope(200, "", {"tasks": []})), 1, 20).total is None


@pytest.mark.parametrize(
    ("data", "field", "text"),
    [
        (None, "$.data", "is null, not an object"),
        ([listed(30)], "$.data", "is a list, not an object"),
        ("", "$.data", "is a string"),
        ({}, "$.data.tasks", "is missing"),
        ({"items": []}, "$.data.tasks", "is missing"),
        ({"tasks": None}, "$.data.tasks", "is null, not a list"),
        ({"tasks": {}}, "$.data.tasks", "is an object, not a list"),
    ],
)
def test_a_page_of_another_shape(data: object, field: str, text: str) -> None:
    """A list of another shape than promised is a DecodeError that names the place and keeps the body."""
    got = answer(envelope(200, "Success", data))
    for read in (read_records, lambda it: read_page(it, 1, 20)):
        with pytest.raises(DecodeError, match=text) as caught:
            read(got)
        assert (caught.value.field, caught.value.body) == (field, got.body)


@pytest.mark.parametrize(
    ("record", "place"),
    [
        (listed(28, status=5), ".status is a whole number, not a string"),
        ({"id": 28, "state": "SUCCESS"}, ".taskId is missing"),
        (listed(28, taskId="x"), ".taskId is a string, not"),
        (listed(28, taskId=28.0), ".taskId is a number that is not whole"),
        (None, " is null, not an object"),
        ([], " is a list, not an object"),
    ],
)
def test_a_record_of_another_shape(record: object, place: str) -> None:
    """A record that cannot be read is left out of its page and told; where all are so, that is a DecodeError."""
    told: list[tuple[str, str]] = []
    odd = Oddities(lambda *odd: told.append(odd))
    for _ in range(2):
        page = read_page(answer(page_of(listed(30), listed(29), record)), 7, 20, odd)
        assert [task.id for task in page.tasks] == [30, 29]
    assert [field for field, _ in told] == ["tasks[2]"], "it is told once"
    assert f"$.data.tasks[2]{place}" in told[0][1]
    assert read_page(answer(page_of(record)), 7, 20).tasks == ()
    got = answer(page_of(record, record))
    with pytest.raises(DecodeError, match=r"no other record of page 7 can be read either$") as caught:
        read_page(got, 7, 20)
    assert caught.value.field.startswith("$.data.tasks[0]")
    assert caught.value.body == got.body
    assert meaning(caught.value) is Meaning.GARBLED


def test_odd_fields_spoil_no_page() -> None:
    """A record with an odd field is on its page like any other."""
    page = read_page(answer(page_of(listed(30, progress={}, status=None), listed("29", actions=5))), 1, 20)
    assert [(task.id, task.status, task.actions) for task in page.tasks][1:] == [(29, "SUCCESS", ())]
    assert (page.tasks[0].status, page.tasks[0].progress) == ("", None)


def test_of_a_page_without_end_the_beginning_is_read() -> None:
    """A page of very many records is cut, and that is told."""
    told: list[tuple[str, str]] = []
    many = {"statusCode": 200, "message": "", "data": {"tasks": [{"taskId": n, "status": ""} for n in range(1, 3001)]}}
    page = read_page(answer(many), 1, 20, Oddities(lambda *odd: told.append(odd)))
    assert [task.id for task in page.tasks] == list(range(1, 1001))
    assert told == [("tasks", "has 3000 records on one page, of which the first 1000 are read")]


@pytest.mark.parametrize(("body", "status", "kind", "code", "means"), JUDGED)
def test_a_page_is_judged_like_a_query(
    body: object, status: int, kind: type[ServiceError], code: int | None, means: Meaning
) -> None:
    """What is no success is the same error for a page as for a query, but that no task can be unknown to a list."""
    got = answer(body, status, retry_after="7")
    if kind is TaskNotFound:
        kind = ServiceError
    with pytest.raises(OmgmjError) as caught:
        read_records(got)
    error = caught.value
    if isinstance(error, DecodeError):
        assert (code, error.field) == (200 if "statusCode" in json.loads(got.body) else code, "$.data")
        return
    assert isinstance(error, ServiceError)
    assert type(error) is kind
    assert (error.status, error.code, error.retry_after) == (status, code, 7.0)
    assert means in (Meaning.UNKNOWN, Meaning.REFUSED) or meaning(error) is means


@pytest.mark.parametrize("quick", [orjson.loads, responses._plain_loads], ids=["orjson", "json"])
def test_odd_records_keep_their_source(quick: Any) -> None:
    """A record with what UTF-8 or orjson have no words for, such as a cut emoji, keeps all of it in its source."""
    odd = b'{"taskId":5,"status":"SUCCESS","prompt":"cut \\ud83d","new":' + b"[" * 300 + b"]" * 300 + b"}"
    with patch.object(responses, "_quick_loads", quick):
        page = read_page(answer(b'{"statusCode":200,"message":"","data":{"tasks":[' + odd + b"]}}"), 1, 20)
    assert page.tasks[0].prompt == "cut \ud83d"
    assert page.tasks[0].raw == json.loads(odd)


def pages(got: Answer) -> list[TaskPage | None]:
    """Read an answer as a page with orjson and with json alone: the page, or None where it is an error of ours."""
    found: list[TaskPage | None] = []
    for loads, dumps in ((orjson.loads, orjson.dumps), (responses._plain_loads, responses._plain_dumps)):
        with patch.object(responses, "_quick_loads", loads), patch.object(responses, "_quick_dumps", dumps):
            try:
                found.append(read_page(got, 1, 20))
                ids = {record_id(record) for record in read_records(got).records}
                assert {task.id for task in read_page(got, 1, 20).tasks} <= ids
            except OmgmjError as error:
                assert str(error).isprintable(), repr(str(error))
                assert isinstance(meaning(error), Meaning)
                found.append(None)
    return found


def check_pages(got: Answer) -> None:
    """Any answer gives a page or an error of ours; where both readers give a page, it is the same one."""
    quick, plain = pages(got)
    if quick is not None and plain is not None:
        assert quick == plain
        assert all(json.loads(dump_record(task))["taskId"] == task.id for task in quick.tasks)


LISTED = json.dumps(page_of(listed(30), listed(29))).encode()


@given(st.binary(max_size=60), statuses, headers)
@example(b'{"statusCode":200,"data":{"tasks":[{"taskId":5,"status":"SUCCESS","x":' + b"[" * 20_000, 200, {})
@example(b'{"data":{"tasks":[{"taskId":5,"status":"S","x":' + b"[" * 990 + b"]" * 990 + b"}]}}", 200, {})
@example(b'{"data":{"tasks":[{"taskId":5,"status":"S","x":' + b"9" * 5000 + b"}]}}", 200, {})
@example(b'{"data":{"tasks":[{"taskId":5,"status":"S","x":[1e999,NaN,"\\ud83d"]}]}}', 200, {})
@example(b'{"data":{"total":18446744073709551616,"tasks":[{"taskId":18446744073709551616}]}}', 200, {})
@example(b"\xef\xbb\xbf" + LISTED, 200, {})
def test_any_bytes_as_a_page(body: bytes, status: int, kept: dict[str, str]) -> None:
    """Any bytes with any status and headers give a page or an error of ours, with json and orjson alike."""
    check_pages(Answer(status, kept, body))


@given(
    st.dictionaries(st.sampled_from(["total", "tasks"]), values),
    st.lists(values | st.dictionaries(st.sampled_from(list(RECORD)), values, max_size=4), max_size=3),
    statuses,
)
def test_any_json_as_a_page(fields: dict[str, Any], records: list[Any], status: int) -> None:
    """Any records, and any fields round them, give a page or an error of ours, with json and orjson alike."""
    mixed = [{**RECORD, **record} if isinstance(record, dict) else record for record in records]
    check_pages(answer(page_of(*mixed, **fields), status))
    check_pages(answer(page_of(*(record for record in mixed if isinstance(record, dict)))))


@settings(max_examples=300)
@given(st.integers(0, len(LISTED) - 1), st.integers(0, 40), st.binary(max_size=6))
def test_any_damage_to_a_page(at: int, lost: int, put: bytes) -> None:
    """A page with bytes lost, changed or put in gives a page or an error of ours, with json and orjson alike."""
    check_pages(Answer(200, {"date": DATE}, LISTED[:at] + put + LISTED[at + lost :]))
