"""The make-believe service itself: its lives, its records, its strictness, its limiter and its faults."""

from __future__ import annotations

import json
import random
import re
import statistics
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omgmj.errors import UsageError
from omgmj.testing.service import task_list
from omgmj.testing.service.actions import KINDS
from omgmj.testing.service.endpoints import LIST, QUERY
from omgmj.testing.service.fake_task import FakeTask
from omgmj.testing.service.faults import FAULTS, FIELDS, OF_LIST, OF_WEBHOOKS, Fault
from omgmj.testing.service.lives import PRESETS, Life, Lives
from omgmj.testing.service.simulator import EPOCH, FIRST_ID, Reply, Simulator
from omgmj.testing.service.task_list import KEPT

HEADERS = {"authorization": "Bearer t", "content-type": "application/x-www-form-urlencoded"}
SAMPLE = Path(__file__).parents[2] / "samples" / "query-response.json"
SUCCESS = Life.succeed(after=40.0, queue=3.0)


def query(service: Simulator, task_id: int, now: float) -> Reply:
    body = urlencode({"model": "midjourney", "taskId": task_id}).encode()
    return service.handle("POST", QUERY, HEADERS, body, now)


def turn(service: Simulator, now: float, number: int = 1, size: int = 20) -> Reply:
    return service.handle("POST", f"{LIST}?page={number}&pageSize={size}", HEADERS, b"model=midjourney", now)


def shown(service: Simulator, now: float, number: int = 1, size: int = 20) -> list[Any]:
    tasks: list[Any] = json.loads(turn(service, now, number, size).body)["data"]["tasks"]
    return tasks


def told(service: Simulator, task_id: int, now: float) -> Any:
    return json.loads(query(service, task_id, now).body)["data"]


# Lives


def test_succeeding_life_tells_its_steps_on_the_way() -> None:
    """A scripted success queues, then tells each step when its share of the time has passed, then ends."""
    life = Life.succeed(after=40.0, queue=3.0, steps=(0, 50, 100))
    assert [tuple(moment)[:3] for moment in life.moments] == [
        (0.0, "NOT_START", None),
        (3.0, "IN_PROGRESS", "0%"),
        (21.5, "IN_PROGRESS", "50%"),
        (40.0, "SUCCESS", "100%"),
    ]
    assert [life.index(age) for age in (-1, 0, 2.9, 3.0, 39.9, 40.0, 1e9)] == [0, 0, 0, 1, 2, 3, 3]


def test_life_without_queue_runs_at_once() -> None:
    """A life without a queue begins in progress, also where its first step comes later or there is none."""
    assert Life.succeed(10.0, queue=0.0).moments[0][:3] == (0.0, "IN_PROGRESS", "0%")
    assert Life.succeed(10.0, queue=0.0, steps=(50,)).moments[0][:3] == (0.0, "IN_PROGRESS", "0%")
    assert [moment.status for moment in Life.succeed(10.0, queue=0.0, steps=()).moments] == ["IN_PROGRESS", "SUCCESS"]


def test_failing_life_ends_with_its_reason() -> None:
    """A scripted failure keeps the progress it had and tells its reason."""
    end = Life.fail(after=9.0, reason="Banned words.", steps=(0, 31)).moments[-1]
    assert end == (9.0, "FAILURE", "31%", {"failReason": "Banned words."})
    assert Life.fail(after=9.0, steps=()).moments[-1].progress is None


@pytest.mark.parametrize(
    "script",
    [
        lambda: Life.steps([]),
        lambda: Life.steps([(1, "NOT_START", None)]),
        lambda: Life.steps([(0, "NOT_START", None), (5, "IN_PROGRESS", "1%"), (4, "SUCCESS", "100%")]),
        lambda: Life.steps([(0, 7, None)]),
        lambda: Life.steps([(0, "IN_PROGRESS", 7)]),
        lambda: Life.steps([(float("nan"), "IN_PROGRESS", None)]),
        lambda: Life.steps([(0,)]),
        lambda: Life.succeed(after=-1.0),
        lambda: Life.succeed(after=2.0, queue=3.0),
        lambda: Life.succeed(steps=(0, 101)),
        lambda: Life.fail(after=float("inf")),
        lambda: Lives(0.0),
        lambda: Lives(40.0, tail=1.5),
        lambda: Lives(40.0, failures=True),
    ],
)
def test_impossible_life_is_refused(script: Any) -> None:
    """A life that cannot be lived is a usage error where it is scripted, not a strange answer later."""
    with pytest.raises(UsageError):
        script()


@pytest.mark.parametrize(("name", "median"), [("short", 4.0), ("fast", 40.0), ("mix", 90.0)])
def test_drawn_lives_have_their_median(name: str, median: float) -> None:
    """Drawn lives last about what their preset says, succeed, and never go backwards."""
    chance = random.Random(1)
    lives = [PRESETS[name].draw(chance) for _ in range(2000)]
    durations = [life.moments[-1].at for life in lives]
    assert 0.85 * median < statistics.median(durations) < 1.15 * median
    assert max(durations) <= 600
    assert all(life.moments[-1].status == "SUCCESS" for life in lives)
    if name == "mix":
        assert 0.03 < sum(duration > 300 for duration in durations) / 2000 < 0.08


def test_drawn_failures_come_to_their_share() -> None:
    """The share of failures is kept, and a failure comes with a reason before the task would have been done."""
    chance = random.Random(2)
    ends = [Lives(40.0, failures=0.3).draw(chance).moments[-1] for _ in range(2000)]
    failed = [end for end in ends if end.status == "FAILURE"]
    assert 0.25 < len(failed) / 2000 < 0.35
    assert all(end.extra["failReason"] for end in failed)


def test_same_seed_gives_same_service() -> None:
    """Two services of one seed answer alike to the byte, one of another seed does not."""

    def answers(seed: int) -> list[bytes]:
        service = Simulator(seed=seed, faults={"html_502": 0.2})
        ids = service.add_tasks(5, now=0.0, failing=2)
        return [query(service, task_id, now).body for now in (1.0, 30.0, 90.0) for task_id in ids]

    assert answers(7) == answers(7) != answers(8)


# Records


def test_final_record_is_shaped_like_the_recorded_one() -> None:
    """A final record has the fields of the recorded answer, in its order and of its types, and its nine actions."""
    sample = json.loads(SAMPLE.read_bytes())
    service = Simulator()
    task_id = service.add_task(SUCCESS, now=0.0)
    answer = json.loads(query(service, task_id, 40.0).body)
    assert list(answer) == list(sample)
    assert tuple(answer["data"]) == tuple(sample["data"]) == FIELDS
    optional = {"webhookUrl"}
    for name, value in sample["data"].items():
        if name not in optional:
            assert type(answer["data"][name]) is type(value), name

    def plain(record: Any) -> list[Any]:
        return [
            {**action, "customId": re.sub("[0-9a-f-]{36}", "U", action["customId"])} for action in record["actions"]
        ]

    assert plain(answer["data"]) == plain(sample["data"])


def test_record_fills_as_the_task_lives() -> None:
    """Start, end, image and actions are null until they are reached; times agree with the clock."""
    service = Simulator()
    task_id = service.add_task(SUCCESS, now=100.0, prompt="a cat", pool="FAST")
    queued, running, done = (told(service, task_id, now) for now in (100.0, 120.0, 200.0))
    assert (queued["status"], queued["progress"], queued["startTime"]) == ("NOT_START", None, None)
    assert queued["submitTime"] == "2026-01-01T00:01:40.000Z"
    assert (running["status"], running["progress"]) == ("IN_PROGRESS", "31%")
    assert running["startTime"] == "2026-01-01T00:01:43.000Z"
    assert (running["finishTime"], running["imageDcUrl"], running["actions"]) == (None, None, None)
    assert done["finishTime"] == "2026-01-01T00:02:20.000Z"
    assert done["imageDcUrl"].startswith("https://")
    assert (done["taskType"], done["action"], done["description"]) == ("FAST", "IMAGINE", "/imagine a cat")


def test_failed_record_has_a_reason_and_no_image() -> None:
    """A failed task tells its reason and offers nothing."""
    service = Simulator()
    record = told(service, service.add_task(Life.fail(after=5.0, reason="No."), now=0.0), 5.0)
    assert (record["status"], record["failReason"], record["imageDcUrl"], record["actions"]) == (
        "FAILURE",
        "No.",
        None,
        None,
    )
    assert record["finishTime"] == "2026-01-01T00:00:05.000Z"


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_offers_its_actions(kind: str) -> None:
    """What a finished task offers goes by its kind: nothing and no image for DESCRIBE."""
    service = Simulator()
    record = told(service, service.add_task(SUCCESS, now=0.0, kind=kind), 40.0)
    assert (record["actions"] is None) == (record["imageDcUrl"] is None) == (kind == "DESCRIBE")
    assert ("Zoom Out 2x" in json.dumps(record["actions"])) == (kind == "UPSCALE")


def test_extra_fields_are_told_instead() -> None:
    """A scripted moment may tell any field its own way, new ones too, and a status word that nobody knows."""
    life = Life.steps([(0, "WONDERED", "100%", {"finishTime": "2026-01-01T00:00:01", "novel": 1, "prompt": None})])
    service = Simulator()
    record = told(service, service.add_task(life, now=0.0), 1.0)
    assert (record["status"], record["finishTime"], record["novel"], record["prompt"]) == (
        "WONDERED",
        "2026-01-01T00:00:01",
        1,
        None,
    )


def test_epoch_is_told_in_utc() -> None:
    """An epoch of any zone is told in UTC, in records and in the Date header; one without a zone is refused."""
    epoch = datetime(2025, 6, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    service = Simulator(epoch=epoch)
    reply = query(service, service.add_task(SUCCESS, now=0.0), 1.9)
    assert json.loads(reply.body)["data"]["submitTime"] == "2025-06-01T00:00:00.000Z"
    assert reply.headers["Date"] == "Sun, 01 Jun 2025 00:00:01 GMT"
    with pytest.raises(UsageError, match="time zone"):
        Simulator(epoch=datetime(2025, 6, 1))  # noqa: DTZ001 (that is the point)


# Tasks and IDs


def test_ids_count_up_and_may_be_chosen() -> None:
    """IDs begin at the contract's example and count up from the largest; a taken or impossible one is refused."""
    service = Simulator()
    assert service.add_tasks(2, now=0.0) == [FIRST_ID, FIRST_ID + 1]
    assert service.add_task(now=0.0, task_id=9000) == 9000
    assert service.add_task(now=0.0) == 9001
    for bad in (9000, 0, -1, True, 2**63, "7"):
        with pytest.raises(UsageError):
            service.add_task(now=0.0, task_id=bad)  # type: ignore[arg-type]


def test_asked_number_of_tasks_fails() -> None:
    """`failing` of the tasks end in failure and no other does."""
    service = Simulator(lives=Lives(40.0, failures=1.0))
    ids = service.add_tasks(10, now=0.0, failing=3)
    statuses = [told(service, task_id, 601.0)["status"] for task_id in ids]
    assert statuses.count("FAILURE") == 3
    assert statuses.count("SUCCESS") == 7


def test_unknown_id_is_a_400_in_the_body() -> None:
    """An ID that was never made, or is not known yet, is answered with code 400 under HTTP 200."""
    service = Simulator()
    task_id = service.add_task(SUCCESS, now=0.0, unknown_for=5.0)
    for reply in (query(service, 1, 0.0), query(service, task_id, 4.9)):
        assert reply.status == 200
        assert json.loads(reply.body)["statusCode"] == 400
        assert "not found" in json.loads(reply.body)["message"]
    assert told(service, task_id, 5.0)["taskId"] == task_id


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "PAINT"},
        {"pool": "SLOW"},
        {"unknown_for": -1.0},
        {"life": SUCCESS, "fails": True},
    ],
)
def test_impossible_task_is_refused(wrong: dict[str, Any]) -> None:
    """A task with a fact that cannot be is a usage error, and is not made."""
    service = Simulator()
    with pytest.raises(UsageError):
        service.add_task(wrong.pop("life", None), now=0.0, **wrong)
    assert not service.tasks


@pytest.mark.parametrize(
    "wrong",
    [
        {"lives": "slow"},
        {"rate": 0.0},
        {"rate": float("nan")},
        {"burst": 0},
        {"burst": 1.5},
        {"retry_after": -1},
        {"faults": {"earthquake": 0.1}},
        {"faults": {"slow": 1.1}},
        {"faults": {"slow": -0.1}},
        {"faults": {"slow": 0.6, "silence": 0.6}},
        {"list_lag": -1.0},
        {"list_lag": float("nan")},
        {"foreign_share": 1.0},
        {"foreign_share": -0.1},
    ],
)
def test_impossible_service_is_refused(wrong: dict[str, Any]) -> None:
    """Settings that cannot be are usage errors when the service is made."""
    with pytest.raises(UsageError):
        Simulator(**wrong)


def test_unknown_fault_names_the_known_ones() -> None:
    """A fault that does not exist is answered with the list of those that do, so is a field; seconds are checked."""
    with pytest.raises(UsageError, match="drop_before_headers, drop_after_headers"):
        Fault("earthquake")
    with pytest.raises(UsageError, match="seconds must be a number from 0"):
        Fault("slow", seconds=float("nan"))
    with pytest.raises(UsageError, match="taskId, taskType"):
        Fault("wrong_type", field="nose")


# Strictness

GOOD = b"model=midjourney&taskId=3432"
LIST_FORM = b"model=midjourney"


@pytest.mark.parametrize(
    ("status", "change"),
    [
        (404, {"path": "/api/v1/ai/draw/mj/shorten"}),
        (404, {"path": QUERY + "?taskId=3432"}),
        (404, {"path": QUERY + "/"}),
        (405, {"method": "GET"}),
        (405, {"method": "post"}),
        (401, {"headers": {"authorization": None}}),
        (401, {"headers": {"authorization": "Bearer wrong-token"}}),
        (401, {"headers": {"authorization": "Bearer  t"}}),
        (401, {"headers": {"authorization": "bearer t"}}),
        (401, {"headers": {"authorization": "t"}}),
        (401, {"headers": {"authorization": "Bearer t, Bearer t"}}),
        (415, {"headers": {"content-type": "text/plain"}}),
        (400, {"headers": {"content-type": "application/json"}}),
        (400, {"headers": {"content-type": "multipart/form-data"}}),
        (415, {"headers": {"content-type": None}}),
        (400, {"body": b""}),
        (400, {"body": b"model"}),
        (400, {"body": b"model=midjourney&taskId=\xff"}),
        (400, {"body": b"model=midjourney&taskId=%ff"}),
        (400, {"body": b"taskId=3432"}),
        (400, {"body": b"model=midjourney"}),
        (400, {"body": GOOD + b"&taskId=3432"}),
        (400, {"body": GOOD + b"&page=1"}),
        (400, {"body": b"model=gpt&taskId=3432"}),
        (400, {"body": b"model=midjourney&taskId="}),
        (400, {"body": b"model=midjourney&taskId=-1"}),
        (400, {"body": b"model=midjourney&taskId=0"}),
        (400, {"body": b"model=midjourney&taskId=3432.0"}),
        (400, {"body": b"model=midjourney&taskId=+3432"}),
        (400, {"body": b"model=midjourney&taskId=%D9%A3"}),
        (405, {"path": LIST, "method": "GET", "body": b""}),
        (401, {"path": LIST + "?page=1", "headers": {"authorization": "Bearer wrong-token"}, "body": LIST_FORM}),
        (400, {"path": LIST, "body": LIST_FORM}),
        (400, {"path": LIST + "?", "body": LIST_FORM}),
        (400, {"path": LIST + "?pageSize=5", "body": LIST_FORM}),
        (400, {"path": LIST + "?page=0", "body": LIST_FORM}),
        (400, {"path": LIST + "?page=-1", "body": LIST_FORM}),
        (400, {"path": LIST + "?page=", "body": LIST_FORM}),
        (400, {"path": LIST + "?page=1.0", "body": LIST_FORM}),
        (400, {"path": LIST + "?page=1&page=1", "body": LIST_FORM}),
        (400, {"path": LIST + "?page=1&pageSize=4", "body": LIST_FORM}),
        (400, {"path": LIST + "?page=1&pageSize=21", "body": LIST_FORM}),
        (400, {"path": LIST + "?page=1&pageSize=05", "body": LIST_FORM}),
        (400, {"path": LIST + "?page=1&size=20", "body": LIST_FORM}),
        (400, {"path": LIST + "?page=1&model=midjourney", "body": LIST_FORM}),
        (400, {"path": LIST + "?page=\u0663", "body": LIST_FORM}),
        (400, {"path": LIST + "?page=1\udcff", "body": LIST_FORM}),  # A byte of a request line that is no UTF-8.
        (400, {"path": LIST + "?page=1", "body": b""}),
        (400, {"path": LIST + "?page=1", "body": b"model=gpt"}),
        (400, {"path": LIST + "?page=1", "body": GOOD}),
        (404, {"path": LIST + "/?page=1", "body": LIST_FORM}),
    ],
)
def test_what_is_not_to_the_letter_is_refused(status: int, change: dict[str, Any]) -> None:
    """A wrong method, path, header, content type or form is refused with an envelope, and recorded."""
    service = Simulator()
    service.add_task(SUCCESS, now=0.0)
    headers = {name: value for name, value in {**HEADERS, **change.get("headers", {})}.items() if value is not None}
    reply = service.handle(
        change.get("method", "POST"), change.get("path", QUERY), headers, change.get("body", GOOD), now=0.0
    )
    assert reply.status == json.loads(reply.body)["statusCode"] == status
    assert len(service.refused) == 1
    assert service.refused[0].startswith(f"{status}: ")
    assert "wrong-token" not in service.refused[0]
    assert not service.asked
    assert not service.pages


def test_what_is_to_the_letter_is_answered() -> None:
    """A content type with a charset and any other header are fine, and nothing is recorded."""
    service = Simulator()
    service.add_task(SUCCESS, now=0.0)
    headers = {**HEADERS, "content-type": "application/x-www-form-urlencoded; charset=utf-8", "accept": "*/*"}
    reply = service.handle("POST", QUERY, headers, GOOD, now=0.0)
    assert json.loads(reply.body)["data"]["taskId"] == FIRST_ID
    assert not service.refused
    assert (service.requests, service.asked, service.times) == (1, {FIRST_ID: 1}, [0.0])


@given(
    token=st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="%&=+;#?"), min_size=8),
    place=st.sampled_from(["path", "method", "content-type", "body", "scheme"]),
)
def test_token_is_never_recorded(token: str, place: str) -> None:
    """Wherever a token strays to, the record of what was refused does not hold it."""
    token = "sk-" + token
    service = Simulator(tokens=[token])
    headers = {**HEADERS, "authorization": f"Bearer {token}"}
    method, path, body = "POST", QUERY, GOOD
    match place:
        case "path":
            path = f"/{token}"
        case "method":
            method = token
        case "content-type":
            headers["content-type"] = token
        case "body":
            body = GOOD + b"&" + token.encode() + b"=1"
        case _:
            headers["authorization"] = f"Token {token}"
    reply = service.handle(method, path, headers, body, now=0.0)
    assert len(service.refused) == 1
    assert token not in service.refused[0]
    assert token not in reply.body.decode()


def test_tokens_rotate() -> None:
    """Tokens that are accepted can be changed at any time."""
    service = Simulator()
    service.add_task(SUCCESS, now=0.0)
    service.tokens.clear()
    service.tokens.add("new")
    assert query(service, FIRST_ID, 0.0).status == 401
    reply = service.handle("POST", QUERY, {**HEADERS, "authorization": "Bearer new"}, GOOD, now=0.0)
    assert reply.status == 200


# The limiter


@given(
    gaps=st.lists(st.floats(0, 0.5), min_size=1, max_size=200),
    rate=st.floats(0.5, 100),
    burst=st.integers(1, 20),
)
def test_limiter_lets_through_no_more_than_it_says(gaps: list[float], rate: float, burst: int) -> None:
    """From any request on, at most rate x time + burst are let through, and the others are counted."""
    service = Simulator(rate=rate, burst=burst)
    service.add_task(SUCCESS, now=0.0)
    now, through = 0.0, []
    for gap in gaps:
        now += gap
        if query(service, FIRST_ID, now).status == 200:
            through.append(now)
    assert service.limited == len(gaps) - len(through)
    for first, start in enumerate(through):
        for last in range(first, len(through)):
            assert last - first + 1 <= rate * (through[last] - start) + burst + 1e-6


def test_limiter_may_say_when_to_come_back() -> None:
    """Above the limit the answer is 429 in the envelope, with Retry-After only where that was asked for."""
    for retry_after in (None, 3):
        service = Simulator(rate=1.0, burst=1, retry_after=retry_after)
        service.add_task(SUCCESS, now=0.0)
        assert query(service, FIRST_ID, 0.0).status == 200
        reply = query(service, FIRST_ID, 0.0)
        assert (reply.status, json.loads(reply.body)["statusCode"]) == (429, 429)
        assert reply.headers.get("Retry-After") == (None if retry_after is None else "3")
        assert query(service, FIRST_ID, 1.0).status == 200


# Faults


def test_every_fault_can_be_injected_and_is_counted() -> None:
    """Each fault of the table, asked for by name, changes exactly one answer and is counted once."""

    def ask(service: Simulator, name: str) -> Reply:
        now = 50.0 if name == "no_image_yet" else 20.0
        return turn(service, now) if name in OF_LIST else query(service, FIRST_ID, now)

    for name in FAULTS.keys() - OF_WEBHOOKS:
        service = Simulator()
        service.add_task(SUCCESS, now=0.0)
        service.add_task(SUCCESS, now=0.0)
        query(service, FIRST_ID, 10.0)
        right = ask(_twin(service), name)
        service.inject(name)
        wrong, again = ask(service, name), ask(service, name)
        assert wrong != right, name
        assert again == right, name
        assert service.injected == {name: 1}


def _twin(service: Simulator) -> Simulator:
    """Return a service with the same task and no fault."""
    twin = Simulator()
    for task in service.tasks.values():
        twin.add_task(task.life, now=0.0)
    return twin


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("code_400", 200, 400),
        ("null_data", 200, 200),
        ("not_found", 404, 404),
        ("unauthorized", 401, 401),
        ("forbidden", 403, 403),
        ("rate_limited", 429, 429),
        ("server_error", 500, 500),
        ("html_200", 200, None),
        ("html_502", 502, None),
        ("html_520", 520, None),
        ("forbidden_html", 403, None),
        ("unavailable", 503, None),
    ],
)
def test_faults_by_status(name: str, status: int, code: int | None) -> None:
    """A fault with the envelope has HTTP status and body code; one without is an HTML page."""
    service = Simulator()
    service.add_task(SUCCESS, now=0.0)
    service.inject(name)
    reply = query(service, FIRST_ID, 0.0)
    assert reply.status == status
    if code is None:
        assert reply.headers["Content-Type"].startswith("text/html")
        assert b"<html>" in reply.body
    else:
        envelope = json.loads(reply.body)
        assert (envelope["statusCode"], envelope["data"]) == (code, None)


def test_faults_of_the_body() -> None:
    """An empty body is empty, JSON that is no object is none, and a wrong type stands in the field chosen."""
    service = Simulator()
    service.add_task(SUCCESS, now=0.0)
    wrong = Fault("wrong_type", field="actions", value="none")
    for fault in ("empty_body", "not_object", "wrong_type", wrong):
        service.inject(fault)
    assert query(service, FIRST_ID, 0.0).body == b""
    assert not isinstance(json.loads(query(service, FIRST_ID, 0.0).body), dict)
    assert isinstance(told(service, FIRST_ID, 0.0)["progress"], dict)
    assert told(service, FIRST_ID, 0.0)["actions"] == "none"


def test_faults_of_pacing() -> None:
    """Retry-After comes in seconds, as a date ahead of the answer's own Date, as 0, and absurdly large."""
    service = Simulator()
    service.add_task(SUCCESS, now=0.0)
    service.inject(Fault("rate_limited_seconds", seconds=7))
    service.inject(Fault("rate_limited_date", seconds=9))
    service.inject("rate_limited_zero")
    service.inject("rate_limited_huge")
    replies = [query(service, FIRST_ID, 100.0) for _ in range(4)]
    hints = [reply.headers["Retry-After"] for reply in replies]
    assert hints[0] == "7"
    assert parsedate_to_datetime(hints[1]) - parsedate_to_datetime(replies[1].headers["Date"]) == timedelta(seconds=9)
    assert hints[2:] == ["0", "999999999"]


def test_faults_of_the_connection() -> None:
    """Faults of the connection carry the right answer and what is to be done to it."""
    service = Simulator()
    service.add_task(SUCCESS, now=0.0)
    for name in ("drop_before_headers", "drop_after_headers", "cut_short", "bad_chunk", "silence"):
        service.inject(name)
        reply = query(service, FIRST_ID, 0.0)
        assert (reply.act, reply.status) == (name, 200)
        assert json.loads(reply.body)["data"]["taskId"] == FIRST_ID
    service.inject(Fault("slow", seconds=9.5))
    assert query(service, FIRST_ID, 0.0).delay == 9.5


def test_backwards_waits_for_something_to_go_back_to() -> None:
    """A status that goes backwards tells an earlier state; in its first state a task has none, so the fault waits."""
    service = Simulator()
    service.add_task(SUCCESS, now=0.0)
    service.inject("backwards")
    assert told(service, FIRST_ID, 0.0)["status"] == "NOT_START"
    assert not service.injected
    assert told(service, FIRST_ID, 40.0)["status"] in {"NOT_START", "IN_PROGRESS"}
    assert told(service, FIRST_ID, 40.0)["status"] == "SUCCESS"


def test_progress_sticks_while_the_task_runs() -> None:
    """Stuck progress is what was told last, for as long as the task runs; its end is told all the same."""
    service = Simulator()
    service.add_task(SUCCESS, now=0.0)
    service.inject("stuck_progress", times=None, task_id=FIRST_ID)
    assert [told(service, FIRST_ID, now)["progress"] for now in (0.0, 10.0, 20.0, 30.0, 40.0)] == [
        None,
        "15%",
        "15%",
        "15%",
        "100%",
    ]


def test_unknown_status_is_never_an_end() -> None:
    """An unknown word by fault comes without an end's fields, so that the task's true end is still to come."""
    service = Simulator()
    service.add_task(SUCCESS, now=0.0)
    service.inject("unknown_status")
    record = told(service, FIRST_ID, 50.0)
    assert (record["status"], record["finishTime"], record["actions"]) == ("PONDERING", None, None)
    assert told(service, FIRST_ID, 50.0)["status"] == "SUCCESS"


def test_faults_of_records_spare_unknown_ids() -> None:
    """A fault that needs a record does not befall an ID without one."""
    service = Simulator()
    service.inject("wrong_type")
    assert json.loads(query(service, 1, 0.0).body)["statusCode"] == 400
    assert not service.injected


def test_faults_by_hand_come_in_order_and_for_one_id() -> None:
    """Faults asked for come one after the other; one for an ID leaves the others alone, and comes first."""
    service = Simulator()
    one, other = service.add_tasks(2, now=0.0)
    service.inject("html_502", times=2)
    service.inject("html_520")
    service.inject("unavailable", task_id=one, times=2)
    assert [query(service, task_id, 0.0).status for task_id in (one, other, one, one, other, one, other)] == [
        503, 502, 503, 502, 520, 200, 200
    ]  # fmt: skip
    assert service.injected == {"html_502": 2, "html_520": 1, "unavailable": 2}


@pytest.mark.parametrize("wrong", [{"times": 0}, {"times": 1.5}, {"times": True}, {"task_id": 1}])
def test_impossible_injection_is_refused(wrong: dict[str, Any]) -> None:
    """Times below 1, an ID that was never made, or a page's fault for one ID, are usage errors."""
    service = Simulator()
    service.add_task(SUCCESS, now=0.0)
    with pytest.raises(UsageError, match="a page of the list"):
        service.inject("list_empty", task_id=FIRST_ID)
    with pytest.raises(UsageError):
        Simulator().inject("slow", **wrong)


def test_shares_of_faults_are_kept() -> None:
    """Faults by share befall about that share of the requests, each its own, particulars included."""
    shares: dict[str | Fault, float] = {"html_502": 0.1, Fault("slow", seconds=5.0): 0.05}
    service = Simulator(faults=shares)
    service.add_task(SUCCESS, now=0.0)
    replies = [query(service, FIRST_ID, 0.0) for _ in range(4000)]
    assert 300 < service.injected["html_502"] < 500
    assert 130 < service.injected["slow"] < 270
    assert {reply.delay for reply in replies} == {0.0, 5.0}


def test_share_of_a_fault_that_cannot_be_leaves_the_answer_right() -> None:
    """A fault by share that does not apply, such as an earlier state of a new task, is not counted."""
    service = Simulator(faults={"backwards": 1.0})
    service.add_task(SUCCESS, now=0.0)
    assert told(service, FIRST_ID, 0.0)["status"] == "NOT_START"
    assert not service.injected


def test_outage_drops_all_until_its_end() -> None:
    """During an outage every request is dropped and counted; heal calls off outage, shares and what was asked for."""
    service = Simulator(faults={"html_200": 1.0})
    service.add_task(SUCCESS, now=0.0)
    service.outage(until=10.0)
    assert query(service, FIRST_ID, 9.9).act == "drop_before_headers"
    assert query(service, FIRST_ID, 10.0).act is None
    service.down = True
    assert query(service, FIRST_ID, 11.0).act == "drop_before_headers"
    assert service.injected == {"outage": 2, "html_200": 1}
    assert service.requests == 3
    service.inject("html_502", times=None)
    service.outage(until=99.0)
    service.heal()
    assert told(service, FIRST_ID, 12.0)["taskId"] == FIRST_ID


# The list


def test_list_shows_the_newest_first() -> None:
    """The list shows whole records, the newest first, by pages; the total is that of all, a page beyond is empty."""
    service = Simulator()
    ids = [service.add_task(SUCCESS, now=float(n)) for n in range(12)]
    found = [[record["taskId"] for record in shown(service, 50.0, number, 5)] for number in (1, 2, 3, 4)]
    assert found == [ids[:-6:-1], ids[-6:-11:-1], ids[-11::-1], []]
    assert json.loads(turn(service, 50.0).body)["data"]["total"] == 12
    assert shown(service, 50.0)[0] == told(service, ids[-1], 50.0)
    assert (
        len(json.loads(service.handle("POST", LIST + "?page=1", HEADERS, LIST_FORM, 50.0).body)["data"]["tasks"]) == 12
    )
    assert service.pages == {1: 4, 2: 1, 3: 1, 4: 1}
    assert service.asked == {ids[-1]: 1}
    assert not service.refused


def test_list_tells_each_moment() -> None:
    """Whenever a page is read, backwards in time too, each record is as a query tells it."""
    service = Simulator(lives="mix")
    ids = service.add_tasks(20, now=0.0, failing=4)
    for now in (*range(0, 700, 7), 3, 90, 41.5):
        records = {record["taskId"]: record for record in shown(service, float(now))}
        assert records == {task_id: told(service, task_id, float(now)) for task_id in ids}


def test_list_hides_what_is_not_known_yet() -> None:
    """A task that the service does not know yet comes up in the list when it is known, at its top."""
    service = Simulator()
    late = service.add_task(SUCCESS, now=0.0, unknown_for=10.0)
    early = service.add_task(SUCCESS, now=1.0)
    assert [record["taskId"] for record in shown(service, 9.0)] == [early]
    assert [record["taskId"] for record in shown(service, 10.0)] == [late, early]


def test_list_lags() -> None:
    """A list that lags shows each task as it was so many seconds ago, and none that is younger; it may change."""
    service = Simulator(list_lag=30.0)
    old, young = service.add_task(SUCCESS, now=0.0), service.add_task(SUCCESS, now=30.0)
    assert (service.list_lag, shown(service, 29.0)) == (30.0, [])
    assert [(record["taskId"], record["status"]) for record in shown(service, 45.0)] == [(old, "IN_PROGRESS")]
    assert told(service, old, 45.0)["status"] == "SUCCESS"
    service.list_lag = 0
    assert [record["taskId"] for record in shown(service, 45.0)] == [young, old]
    with pytest.raises(UsageError):
        service.list_lag = -1.0


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_foreign_tasks_are_mixed_in(share: float) -> None:
    """Foreign tasks come to their share of the list, among the others; those live the same lives for any share."""
    service, alone = Simulator(seed=5, foreign_share=share), Simulator(seed=5)
    count = 400
    ids = [service.add_task(now=float(n)) for n in range(count)]
    assert [service.tasks[task_id].life for task_id in ids] == [
        alone.tasks[task_id].life for task_id in (alone.add_task(now=float(n)) for n in range(count))
    ]
    assert set(ids) | service.foreign.keys() == service.tasks.keys()
    assert len(service.foreign) / len(service.tasks) == pytest.approx(share, abs=0.05)
    latest = shown(service, 400.0)
    assert 0 < sum(record["taskId"] in service.foreign for record in latest) <= 20 or share == 0.1


def test_foreign_tasks_by_hand() -> None:
    """Foreign tasks may be made at any time; they live, and are told to whoever asks, like any other."""
    service = Simulator()
    foreign = service.add_foreign(3, now=0.0)
    assert list(service.foreign) == foreign
    assert [record["taskId"] for record in shown(service, 600.0)] == foreign[::-1]
    assert told(service, foreign[0], 600.0)["status"] == "SUCCESS"
    with pytest.raises(UsageError):
        service.add_foreign(-1, now=0.0)


def spoiled(fault: str, number: int = 1) -> tuple[Reply, Any]:
    """Return the first page of twelve with a fault, and its data."""
    service = Simulator()
    for n in range(12):
        service.add_task(SUCCESS, now=float(n))
    service.inject(fault)
    reply = turn(service, 20.0, number, 5)
    assert service.injected == {fault: 1}
    return reply, json.loads(reply.body)["data"]


def test_faults_of_the_list() -> None:
    """Each fault of the list does to a page what the table says."""
    assert spoiled("list_forbidden")[0].status == 403
    assert spoiled("list_error")[0].status == 500
    assert spoiled("list_wrong_shape")[1].keys() == {"count", "items"}
    assert spoiled("list_empty", 2)[1] == {"total": 12, "tasks": []}
    assert spoiled("list_total_lies")[1]["total"] != 12
    ids = [record["taskId"] for record in spoiled("list_duplicates")[1]["tasks"]]
    assert ids == [3443, 3442, 3441, 3440, 3439, 3443]
    twice = [record for record in spoiled("list_twice")[1]["tasks"] if record["taskId"] == 3443]
    assert [record["progress"] for record in twice] == ["0%", "15%"]
    foreign = spoiled("list_foreign_shape")[1]["tasks"]
    assert ["taskId" in record for record in foreign] == [False, True, False, True, False]
    assert foreign[0]["id"] == 3443
    assert not {"progress", "status"} & foreign[0].keys()


def test_faults_of_the_list_spare_queries() -> None:
    """What befalls the list leaves queries alone, and the other way round; the rest befalls either."""
    service = Simulator()
    service.add_task(SUCCESS, now=0.0)
    service.inject("list_error", times=None)
    service.inject("wrong_type")
    assert query(service, 1, 0.0).status == 200
    assert turn(service, 0.0).status == 500
    assert isinstance(told(service, FIRST_ID, 0.0)["progress"], dict)
    service.heal()
    service.inject("html_502", times=2)
    assert (query(service, FIRST_ID, 0.0).status, turn(service, 0.0).status) == (502, 502)
    assert turn(Simulator(faults={"null_data": 1.0}), 0.0).body.endswith(b'"data":null}')
    service = Simulator(faults={"list_error": 1.0})
    service.add_task(SUCCESS, now=0.0)
    assert (query(service, FIRST_ID, 0.0).status, turn(service, 0.0).status) == (200, 500)


@pytest.mark.parametrize("fault", ["list_empty", "list_duplicates", "list_twice", "list_foreign_shape"])
def test_faults_of_the_list_wait_for_records(fault: str) -> None:
    """A fault that needs records, or one with an earlier state, waits until there are such."""
    service = Simulator()
    service.inject(fault)
    assert shown(service, 0.0) == []
    assert not service.injected
    service.add_task(SUCCESS, now=0.0)
    shown(service, 20.0)
    assert service.injected == {fault: 1}


def test_a_page_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Among thousands of tasks a page is found by looking at few, and records that were written before are kept."""
    service = Simulator()
    service.add_tasks(4000, now=0.0)
    turn(service, 700.0)
    passed: list[FakeTask] = []
    written: list[object] = []

    def known_from(task: FakeTask) -> float:
        passed.append(task)
        return task.known_from

    monkeypatch.setattr(task_list, "_known_from", known_from)
    monkeypatch.setattr(task_list, "write", written.append)
    assert len(shown(service, 700.0)) == 20
    assert 0 < len(passed) < 20
    assert written == []


def test_few_records_are_kept() -> None:
    """Reading all of a long list leaves no more than some thousand records in memory."""
    service = Simulator()
    service.add_tasks(KEPT + 100, now=0.0)
    for number in range(1, KEPT // 20 + 6):
        assert len(shown(service, 700.0, number)) == 20
    assert len(service._listing._kept) <= KEPT


def test_epoch_is_fixed() -> None:
    """Unless told otherwise the service's clock begins on a fixed day, so that runs can be compared."""
    assert datetime(2026, 1, 1, tzinfo=UTC) == EPOCH
