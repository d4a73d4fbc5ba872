"""Trouble of the make-believe service: for all or for some, for one kind of call, for some time; and what it does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from omgmj.errors import UsageError
from omgmj.testing.service.endpoints import IMAGINE, LIST, QUERY
from omgmj.testing.service.faults import Fault
from omgmj.testing.service.simulator import FIRST_ID, MOVED_TO, Reply, Simulator
from tests.testing.service.test_account import DONE, send

IDS = (FIRST_ID, FIRST_ID + 1, FIRST_ID + 2)


def living() -> Simulator:
    """Return a service with three tasks of 40 s."""
    service = Simulator()
    for _ in IDS:
        service.add_task(DONE, now=0.0)
    return service


def query(service: Simulator, task_id: int, now: float) -> Reply:
    return send(service, QUERY, now, taskId=str(task_id))


def statuses(service: Simulator, now: float) -> list[int]:
    """Return the status of a query of each ID, of a page, and of a submission."""
    page, made = send(service, LIST + "?page=1", now), send(service, IMAGINE, now, prompt="a cat")
    return [*(query(service, task_id, now).status for task_id in IDS), page.status, made.status]


@pytest.mark.parametrize(
    ("fault", "settings", "expected"),
    [
        ("html_502", {}, [502, 502, 502, 502, 502]),
        ("html_502", {"task_id": FIRST_ID}, [502, 200, 200, 200, 200]),
        ("html_502", {"task_id": IDS[1:]}, [200, 502, 502, 200, 200]),
        (Fault("rate_limited", only="pages"), {}, [200, 200, 200, 429, 200]),
        (Fault("rate_limited", only="submissions"), {}, [200, 200, 200, 200, 429]),
        (Fault("rate_limited", only="queries"), {}, [429, 429, 429, 200, 200]),
        ("list_error", {}, [200, 200, 200, 500, 200]),
    ],
)
def test_trouble_lasts_from_then_to_then(fault: str | Fault, settings: dict[str, Any], expected: list[int]) -> None:
    """Trouble begins and ends when it should and befalls all that it is kept to, and nothing else."""
    service = living()
    service.trouble(fault, now=10.0, after=5.0, seconds=40.0, **settings)
    assert statuses(service, 14.9) == [200] * 5
    assert statuses(service, 15.0) == statuses(service, 54.9) == expected
    assert statuses(service, 55.0) == [200] * 5


def test_trouble_without_an_end_is_healed() -> None:
    """Trouble lasts for ever unless it is given seconds, and is called off like any fault."""
    service = living()
    service.trouble("html_502", now=0.0)
    assert statuses(service, 1e6) == [502] * 5
    service.heal()
    assert statuses(service, 1e6) == [200] * 5


def test_trouble_comes_before_what_was_injected() -> None:
    """What was asked for by hand waits while there is trouble; trouble that cannot be acted out lets it through."""
    service = living()
    service.inject("unavailable")
    service.trouble("html_502", now=0.0, seconds=5.0)
    service.trouble("backwards", now=0.0)
    assert [query(service, FIRST_ID, now).status for now in (0.0, 6.0, 7.0)] == [502, 200, 200]
    assert service.injected == {"html_502": 1, "backwards": 2}
    service.heal()
    service.inject("unavailable")
    service.trouble("backwards", now=0.0)
    assert query(service, FIRST_ID, 0.0).status == 503


def test_faults_for_several_ids() -> None:
    """A fault by hand for several IDs befalls each of them so many times."""
    service = living()
    service.inject("html_502", times=2, task_id=IDS[:2])
    assert [query(service, task_id, 0.0).status for task_id in IDS * 3] == [502, 502, 200] * 2 + [200] * 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"fault": "earthquake"},
        {"seconds": -1.0},
        {"seconds": float("nan")},
        {"after": -1.0},
        {"task_id": 1},
        {"task_id": [FIRST_ID, 1]},
        {"fault": "list_error", "task_id": FIRST_ID},
        {"fault": Fault("slow", only="submissions"), "task_id": FIRST_ID},
    ],
)
def test_impossible_trouble_is_refused(wrong: dict[str, Any]) -> None:
    """Trouble that cannot be is a usage error, and nothing goes wrong."""
    service = living()
    with pytest.raises(UsageError):
        service.trouble(**{"fault": "html_502", "now": 0.0, **wrong})
    assert statuses(service, 0.0) == [200] * 5


# What each answers


@pytest.mark.parametrize(
    ("fault", "status", "body"),
    [
        ("array_data", 200, {"statusCode": 200, "message": "Success", "data": []}),
        ("code_402", 200, {"statusCode": 402, "message": "insufficient balance", "data": None}),
        ("framework_404", 404, {"detail": "Not Found"}),
        ("framework_405", 405, {"detail": "Method Not Allowed"}),
        ("html_404", 404, None),
        ("html_410", 410, None),
        ("redirect_301", 301, None),
        ("redirect_308", 308, None),
    ],
)
def test_refusals_of_each_kind(fault: str, status: int, body: Any) -> None:
    """Each kind of refusal is answered to queries, pages and submissions alike."""
    service = living()
    service.trouble(fault, now=0.0)
    replies = [
        query(service, FIRST_ID, 0.0),
        send(service, LIST + "?page=1", 0.0),
        send(service, IMAGINE, 0.0, prompt="a cat"),
    ]
    for reply in replies:
        assert reply.status == status
        assert reply.headers.get("Location") == (MOVED_TO if fault.startswith("redirect") else None)
        if body is None:
            assert reply.headers["Content-Type"].startswith("text/html")
        else:
            assert json.loads(reply.body) == body
    assert len(service.created) == (fault == "array_data")


def shown(service: Simulator, now: float) -> Any:
    return json.loads(send(service, LIST + "?page=1", now).body)["data"]["tasks"]


def test_fractional_progress() -> None:
    """Progress is a number with a fraction where there is some, on pages too, and no more than 100."""
    service = living()
    service.trouble("fractional_progress", now=0.0)
    seen = [json.loads(query(service, FIRST_ID, now).body)["data"]["progress"] for now in (0.0, 10.0, 40.0)]
    assert seen == [None, 15.5, 100.0]
    assert [record["progress"] for record in shown(service, 10.0)] == [15.5] * 3


def test_odd_fields() -> None:
    """Odd records have the image and the ID of the right ones, and hardly a field of the usual type, on pages too."""
    service = living()
    right = json.loads(query(service, FIRST_ID, 40.0).body)["data"]
    service.trouble("odd_fields", now=0.0)
    record = json.loads(query(service, FIRST_ID, 40.0).body)["data"]
    assert shown(service, 40.0)[-1] == record
    assert list(record) == list(right)
    assert (record["taskId"], record["status"], record["imageDcUrl"]) == (
        str(FIRST_ID),
        " success ",
        right["imageDcUrl"],
    )
    assert record["actions"] == [None, *right["actions"]]
    same = {name for name in right if type(right[name]) is type(record[name])}
    assert same == {"status", "action", "submitTime", "startTime", "finishTime", "imageDcUrl", "actions"}
    assert json.loads(query(service, 1, 0.0).body)["statusCode"] == 400
    empty = Simulator()
    empty.trouble("odd_fields", now=0.0)
    assert shown(empty, 0.0) == []
    assert not empty.injected


def test_odd_envelope() -> None:
    """The code is a string of digits, and so is a new task's ID; records are as they are."""
    service = living()
    service.trouble("odd_envelope", now=0.0)
    answer = json.loads(query(service, FIRST_ID, 40.0).body)
    assert (answer["statusCode"], answer["data"]["taskId"]) == ("200", FIRST_ID)
    made = json.loads(send(service, IMAGINE, 0.0, prompt="a cat").body)
    assert made == {"statusCode": "200", "message": "Success", "data": str(FIRST_ID + 3)}


def test_record_of_another_task() -> None:
    """Another task's record is told where there is one."""
    service = living()
    service.trouble("other_task", now=0.0)
    assert json.loads(query(service, FIRST_ID, 0.0).body)["data"]["taskId"] in IDS[1:]
    alone = Simulator()
    alone.add_task(DONE, now=0.0)
    alone.trouble("other_task", now=0.0)
    assert json.loads(query(alone, FIRST_ID, 0.0).body)["data"]["taskId"] == FIRST_ID
    assert not alone.injected


def test_success_before_its_image() -> None:
    """A finished record is told without image and actions; one that runs, or has none at all, is spared."""
    service = living()
    service.inject("no_image_yet")
    described = service.add_task(DONE, now=0.0, kind="DESCRIBE")
    for task_id, now in ((FIRST_ID, 39.0), (described, 40.0)):
        query(service, task_id, now)
        assert not service.injected
    record = json.loads(query(service, FIRST_ID, 40.0).body)["data"]
    assert (record["status"], record["imageDcUrl"], record["actions"]) == ("SUCCESS", None, None)
    assert json.loads(query(service, FIRST_ID, 40.0).body)["data"]["actions"]
