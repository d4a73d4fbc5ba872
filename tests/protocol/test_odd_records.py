"""Odd records: what kin services, proxies and bugs send, and what comes of it.

A row changes some fields of the recorded answer, and says what the task then is: its attributes, the fields that are
warned of, or the error. `GONE` takes a field out.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson
import pytest

from omgmj.errors import DecodeError, OmgmjError, TransportError
from omgmj.models import Action, Kind, Status, Task
from omgmj.protocol import responses
from omgmj.protocol.messages import Answer
from omgmj.protocol.pages import read_page
from omgmj.protocol.responses import read_query
from omgmj.records import Oddities

RECORD: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "samples" / "query-response.json").read_bytes(),
)["data"]
GONE = object()
STORE = "https://pi.ohmygpt.com/api/v1/content/mj-generated/"
URL = RECORD["imageDcUrl"]
AT = datetime(2023, 8, 31, 13, 59, 14, tzinfo=UTC)
RUNNING: dict[str, Any] = {"status": "X", "finishTime": None}
BARE: dict[str, Any] = {"imageDcUrl": None, "finishTime": None}
U1 = {"customId": "c", "emoji": "e", "label": "l"}

Row = tuple[dict[str, Any], dict[str, Any] | type[OmgmjError], str]
# The changes; what the task is, or the error; the fields that are warned of.
ODD: list[Row] = [
    # taskId
    ({"taskId": "20"}, {"id": 20}, ""),
    ({"taskId": "0020"}, {"id": 20}, ""),
    ({"taskId": None}, {"id": 20}, ""),
    ({"taskId": GONE}, {"id": 20}, ""),
    ({"taskId": 20.0}, {"id": 20}, "taskId"),
    ({"taskId": 20.5}, {"id": 20}, "taskId"),
    ({"taskId": 0}, {"id": 20}, "taskId"),
    ({"taskId": -20}, {"id": 20}, "taskId"),
    ({"taskId": 2**63}, {"id": 20}, "taskId"),
    ({"taskId": "twenty"}, {"id": 20}, "taskId"),
    ({"taskId": "٢٠"}, {"id": 20}, "taskId"),
    ({"taskId": ""}, {"id": 20}, "taskId"),
    ({"taskId": True}, {"id": 20}, "taskId"),
    ({"taskId": {"$oid": "5f"}}, {"id": 20}, "taskId"),
    ({"taskId": [20]}, {"id": 20}, "taskId"),
    ({"taskId": 21}, TransportError, ""),
    ({"taskId": "21"}, TransportError, ""),
    # status
    ({"status": "success"}, {"status": Status.SUCCESS, "succeeded": True}, ""),
    ({"status": " Success\n"}, {"status": Status.SUCCESS}, ""),
    ({"status": "failure"}, {"status": Status.FAILURE, "failed": True}, ""),
    ({"status": "in_progress"}, {"status": Status.IN_PROGRESS, "is_terminal": False}, ""),
    ({"status": ""}, {"status": "", "is_terminal": False}, ""),
    ({"status": "  "}, {"status": "  ", "is_terminal": False}, ""),
    ({"status": None}, {"status": "", "is_terminal": False}, ""),
    ({"status": GONE}, {"status": "", "is_terminal": False}, ""),
    ({"status": "", "failReason": "x", **BARE}, {"is_terminal": False}, ""),
    ({**RUNNING}, {"status": "X", "is_terminal": False}, ""),
    ({"status": "FAILED", "failReason": "no", **BARE}, {"status": "FAILED", "failed": True}, ""),
    ({"status": "FAILED", "failReason": "no", "finishTime": None}, {"is_terminal": False}, ""),
    ({"status": "FAILED", "failReason": "no", **BARE, "imageS3Url": "k.png"}, {"is_terminal": False}, ""),
    ({"status": "FAILED", "failReason": "", **BARE}, {"is_terminal": False}, ""),
    ({"status": "X", "finishTime": "2023-08-31T13:59:14Z"}, {"is_terminal": True, "succeeded": False}, ""),
    ({"status": "X", "finishTime": "0001-01-01T00:00:00Z"}, {"is_terminal": False}, "finishTime"),
    ({"status": "X", "finishTime": 0}, {"is_terminal": False}, ""),
    ({"status": "X" * 500}, {"status": "X" * 63 + "…"}, ""),
    ({"status": "\ud83d"}, {"status": "\ud83d"}, ""),
    ({"status": 3}, DecodeError, ""),
    ({"status": 3.5}, DecodeError, ""),
    ({"status": False}, DecodeError, ""),
    ({"status": {"code": "SUCCESS"}}, DecodeError, ""),
    ({"status": ["SUCCESS"]}, DecodeError, ""),
    # taskType and action
    ({"taskType": "TURBO"}, {"pool": "TURBO"}, ""),
    ({"taskType": 1}, {"pool": None}, "taskType"),
    ({"taskType": ["FAST"]}, {"pool": None}, "taskType"),
    ({"taskType": "P" * 500}, {"pool": "P" * 63 + "…"}, ""),
    ({"action": "REROLL"}, {"kind": "REROLL"}, ""),
    ({"action": "IMAGINE"}, {"kind": Kind.IMAGINE}, ""),
    ({"action": 3}, {"kind": None}, "action"),
    ({"action": True}, {"kind": None}, "action"),
    ({"action": {}}, {"kind": None}, "action"),
    ({"action": "K" * 500}, {"kind": "K" * 63 + "…"}, ""),
    # progress
    ({"progress": 100}, {"progress": 100}, ""),
    ({"progress": "100"}, {"progress": 100}, ""),
    ({"progress": 100.0}, {"progress": 100}, ""),
    ({"progress": 46.5}, {"progress": 46}, ""),
    ({"progress": 46.99}, {"progress": 46}, ""),
    ({"progress": "46.5%"}, {"progress": 46}, ""),
    ({"progress": " 46 % "}, {"progress": 46}, ""),
    ({"progress": ""}, {"progress": None}, ""),
    ({"progress": "waiting"}, {"progress": None}, "progress"),
    ({"progress": "150%"}, {"progress": None}, "progress"),
    ({"progress": -1}, {"progress": None}, "progress"),
    ({"progress": 1e300}, {"progress": None}, "progress"),
    ({"progress": True}, {"progress": None}, "progress"),
    ({"progress": {"percent": 46}}, {"progress": None}, "progress"),
    ({"progress": [46]}, {"progress": None}, "progress"),
    # texts
    ({"failReason": {"code": 1, "text": "né"}}, {"fail_reason": '{"code":1,"text":"né"}'}, ""),
    ({"failReason": ["a", 1]}, {"fail_reason": '["a",1]'}, ""),
    ({"failReason": {}}, {"fail_reason": "{}"}, ""),
    ({"failReason": 404}, {"fail_reason": None}, "failReason"),
    ({"failReason": False}, {"fail_reason": None}, "failReason"),
    ({"prompt": ["one", "two"]}, {"prompt": '["one","two"]'}, ""),
    ({"prompt": 1.5}, {"prompt": None}, "prompt"),
    ({"prompt": "cut \ud83d"}, {"prompt": "cut \ud83d"}, ""),
    ({"description": {"en": "a"}}, {"description": '{"en":"a"}'}, ""),
    ({"description": True}, {"description": None}, "description"),
    # times
    ({"submitTime": 1_693_490_354_000}, {"submitted_at": AT}, ""),
    ({"submitTime": 1_693_490_354}, {"submitted_at": AT}, ""),
    ({"submitTime": "1693490354000"}, {"submitted_at": AT}, ""),
    ({"submitTime": "1693490354"}, {"submitted_at": AT}, ""),
    ({"submitTime": "2023-08-31T21:59:14+08:00"}, {"submitted_at": AT}, ""),
    ({"submitTime": "2023-08-31 13:59:14"}, {"submitted_at": AT}, ""),
    ({"startTime": 0}, {"started_at": None}, ""),
    ({"startTime": "0"}, {"started_at": None}, ""),
    ({"startTime": ""}, {"started_at": None}, ""),
    ({"startTime": "0001-01-01T00:00:00Z"}, {"started_at": None}, "startTime"),
    ({"startTime": "0001-01-01T00:00:00+14:00"}, {"started_at": None}, "startTime"),
    ({"startTime": "1970-01-01T00:00:00.000Z"}, {"started_at": None}, "startTime"),
    ({"startTime": "1999-12-31T23:59:59Z"}, {"started_at": None}, "startTime"),
    ({"startTime": -1}, {"started_at": None}, "startTime"),
    ({"startTime": -62_135_596_800_000}, {"started_at": None}, "startTime"),
    ({"startTime": 10**18}, {"started_at": None}, "startTime"),
    ({"startTime": 1_693_490_354.5}, {"started_at": None}, "startTime"),
    ({"startTime": "soon"}, {"started_at": None}, "startTime"),
    ({"startTime": True}, {"started_at": None}, "startTime"),
    ({"startTime": {"$date": 1}}, {"started_at": None}, "startTime"),
    ({"startTime": [2023, 8, 31]}, {"started_at": None}, "startTime"),
    ({"finishTime": {}, "startTime": []}, {"started_at": None, "finished_at": None}, "finishTime startTime"),
    # URLs
    ({"imageDcUrl": GONE, "imageS3Url": GONE}, {"image_url": None, "stored_image_url": None}, ""),
    ({"imageDcUrl": ""}, {"image_url": None}, ""),
    ({"imageDcUrl": "cdn.discordapp.com/a.png"}, {"image_url": None}, "imageDcUrl"),
    ({"imageDcUrl": "javascript:alert(1)"}, {"image_url": None}, "imageDcUrl"),
    ({"imageDcUrl": [URL]}, {"image_url": None}, "imageDcUrl"),
    ({"imageDcUrl": False}, {"image_url": None}, "imageDcUrl"),
    ({"imageS3Url": "2023/a b.png"}, {"stored_image_url": f"{STORE}2023/a%20b.png"}, ""),
    ({"imageS3Url": "/a.png"}, {"stored_image_url": f"{STORE}a.png"}, ""),
    ({"imageS3Url": "//s3.test/a.png"}, {"stored_image_url": "https://s3.test/a.png"}, ""),
    ({"imageS3Url": "HTTPS://s3.test/a.png"}, {"stored_image_url": "HTTPS://s3.test/a.png"}, ""),
    ({"imageS3Url": "s3://bucket/a.png"}, {"stored_image_url": None}, "imageS3Url"),
    ({"imageS3Url": " "}, {"stored_image_url": None}, "imageS3Url"),
    ({"imageS3Url": {"url": URL}}, {"stored_image_url": None}, "imageS3Url"),
    ({"webhookUrl": False}, {"webhook_url": None}, "webhookUrl"),
    # actions
    ({"actions": None}, {"actions": ()}, ""),
    ({"actions": {"U1": U1}}, {"actions": ()}, "actions"),
    ({"actions": "U1"}, {"actions": ()}, "actions"),
    ({"actions": [U1, "U2", None]}, {"actions": (Action("c", "e", "l"),)}, "actions[1]"),
    ({"actions": [{**U1, "label": 1, "emoji": {}}]}, {"actions": (Action("c"),)}, ""),
    ({"actions": [{**U1, "customId": 1}]}, {"actions": (Action("", "e", "l"),)}, "actions[0].customId"),
    ({"actions": [{}]}, {"actions": (Action(""),)}, ""),
    # what is new
    ({"buttons": [1], "data": {"status": "FAILURE"}, "source": "x", "statusCode": 5}, {"succeeded": True}, ""),
]

# As above, with numbers that orjson writes in another way: on a page `raw` has them so.
NUMBERS: list[Row] = [
    ({"progress": float("nan")}, {"progress": None}, "progress"),
    ({"progress": float("inf")}, {"progress": None}, "progress"),
    ({"failReason": [2**64]}, {"fail_reason": "[1.8446744073709552e+19]"}, ""),
    ({"prompt": float("nan")}, {"prompt": None}, "prompt"),
]


def test_there_are_enough() -> None:
    """The table has a row for each oddity that was thought of."""
    assert len(ODD) >= 111


@pytest.mark.parametrize("quick", [orjson.loads, responses._plain_loads], ids=["orjson", "json"])
@pytest.mark.parametrize(("changes", "becomes", "odd"), ODD + NUMBERS)
def test_an_odd_record(changes: dict[str, Any], becomes: Any, odd: str, quick: Any) -> None:
    """The record becomes what the table says, polled and on a page; what is odd is told, and `raw` keeps all of it."""
    record = {name: value for name, value in {**RECORD, **changes}.items() if value is not GONE}
    told: list[str] = []
    with patch.object(responses, "_quick_loads", quick):
        if isinstance(becomes, type):
            with pytest.raises(becomes):
                read(record)
            return
        task = read(record, Oddities(lambda field, _: told.append(field)))
        body = json.dumps({"statusCode": 200, "data": {"tasks": [record]}}).encode()
        page = read_page(Answer(200, {}, body), 1, 20)
    assert {name: getattr(task, name) for name in becomes} == becomes
    assert type(task.status) is type(becomes.get("status", task.status))
    assert sorted(told) == sorted(odd.split())
    assert json.dumps(task.raw) == json.dumps(record)
    for listed in page.tasks:
        assert listed == task
        assert (changes, becomes, odd) in NUMBERS or json.dumps(listed.raw) == json.dumps(record)
    assert bool(page.tasks) is (record.get("taskId") in (20, "20", "0020") and type(record["taskId"]) is not float)


def read(record: dict[str, Any], odd: Oddities | None = None) -> Task:
    """Read a record out of an answer for task 20."""
    body = json.dumps({"statusCode": 200, "message": "Success", "data": record}).encode()
    return read_query(Answer(200, {}, body), 20, odd or Oddities(lambda *_: None))
