"""What requests make in the make-believe account: each kind of task, what it offers, and what is declined."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest

from omgmj.errors import UsageError
from omgmj.testing.service.account import BANNED, DESCRIBED, FIRST_ID, Created
from omgmj.testing.service.endpoints import ACTION, BLEND, DESCRIBE, IMAGINE, LIST, QUERY
from omgmj.testing.service.fake_task import CDN
from omgmj.testing.service.faults import (
    BODIES,
    ENVELOPES,
    FAULTS,
    MAKES_NONE,
    OF_ANY_RECORD,
    OF_LIST,
    OF_RECORDS,
    OF_WEBHOOKS,
    Fault,
)
from omgmj.testing.service.lives import Life, Lives
from omgmj.testing.service.simulator import Reply, Simulator

HEADERS = {"authorization": "Bearer t", "content-type": "application/x-www-form-urlencoded"}
IMAGE = "data:image/png;base64,iVBORw0KGgo="
SHOWN = "image/png of 8 bytes"
DONE = Life.succeed(after=40.0, queue=3.0)


def send(service: Simulator, path: str, now: float, *fields: tuple[str, str], **more: str) -> Reply:
    form = [("model", "midjourney"), *fields, *more.items()]
    return service.handle("POST", path, HEADERS, urlencode(form).encode(), now)


def data(reply: Reply) -> Any:
    answer = json.loads(reply.body)
    assert answer["statusCode"] == 200, answer
    return answer["data"]


def told(service: Simulator, task_id: int, now: float) -> Any:
    return data(send(service, QUERY, now, taskId=str(task_id)))


def grown(kind: str = "IMAGINE", pool: str = "FAST") -> tuple[Simulator, dict[str, str]]:
    """Return a service whose first task has succeeded by 40 s, and the custom IDs that it offers, by label or emoji."""
    service = Simulator()
    task_id = service.add_task(DONE, now=0.0, kind=kind, pool=pool)
    actions = told(service, task_id, 40.0)["actions"]
    return service, {action["label"] or action["emoji"]: action["customId"] for action in actions}


def act(service: Simulator, custom_id: str, now: float = 40.0, task_id: int = FIRST_ID, **more: str) -> Reply:
    return send(service, ACTION, now, taskId=str(task_id), customId=custom_id, **more)


# Each kind


def test_imagine_makes_a_task() -> None:
    """An imagined task has the prompt as given, the pool and webhook asked for, and a life that ends."""
    service = Simulator()
    hook = "https://example.org/hook"
    assert data(send(service, IMAGINE, 5.0, prompt=" a cat ", type="NORMAL", webhook=hook)) == FIRST_ID
    queued, done = told(service, FIRST_ID, 5.0), told(service, FIRST_ID, 700.0)
    assert (queued["action"], queued["status"], queued["taskType"], queued["webhookUrl"]) == (
        "IMAGINE",
        "NOT_START",
        "NORMAL",
        hook,
    )
    assert (queued["prompt"], queued["description"]) == (" a cat ", "/imagine  a cat ")
    assert queued["submitTime"] == "2026-01-01T00:00:05.000Z"
    assert (done["status"], len(done["actions"])) == ("SUCCESS", 9)
    assert service.created == [
        Created(FIRST_ID, "IMAGINE", 5.0, {"prompt": " a cat ", "type": "NORMAL", "webhook": hook})
    ]
    assert not service.refused


def test_pool_is_fast_where_none_is_asked_for() -> None:
    """A task without a type is FAST, and without a webhook it tells none."""
    service = Simulator()
    record = told(service, data(send(service, IMAGINE, 0.0, prompt="a cat")), 0.0)
    assert (record["taskType"], record["webhookUrl"]) == ("FAST", None)


@pytest.mark.parametrize("word", sorted(BANNED))
def test_banned_word_fails_soon(word: str) -> None:
    """A prompt with a banned word is taken, and fails with a reason that names it; a longer word is another word."""
    service = Simulator()
    for prompt in (f"a {word.upper()}, cat", f"a {word}ly cat"):
        send(service, IMAGINE, 0.0, prompt=prompt)
    failed, other = told(service, FIRST_ID, 1.0), told(service, FIRST_ID + 1, 700.0)
    assert (failed["status"], other["status"]) == ("FAILURE", "SUCCESS")
    assert word in failed["failReason"]


def test_blend_makes_a_grid_without_a_prompt() -> None:
    """A blend's record has no prompt, and offers what a grid does; its images are counted, not kept."""
    service = Simulator()
    send(service, BLEND, 0.0, ("base64Array", IMAGE), ("base64Array", IMAGE), dimensions="PORTRAIT")
    record = told(service, FIRST_ID, 700.0)
    assert (record["action"], record["prompt"], record["description"]) == ("BLEND", "", "/blend")
    assert len(record["actions"]) == 9
    assert service.created[0].fields == {"dimensions": "PORTRAIT", "base64Array": (SHOWN, SHOWN)}


def test_describe_ends_with_prompts_and_no_image() -> None:
    """A DESCRIBE tells no prompt on its way; at its end it tells the texts, no image and no actions."""
    service = Simulator()
    send(service, DESCRIBE, 0.0, base64=IMAGE)
    queued, done = told(service, FIRST_ID, 0.0), told(service, FIRST_ID, 700.0)
    assert (queued["action"], queued["prompt"]) == ("DESCRIBE", None)
    assert (done["status"], done["prompt"], done["description"]) == ("SUCCESS", DESCRIBED, "/describe")
    assert (done["imageDcUrl"], done["actions"]) == (None, None)


@pytest.mark.parametrize(
    ("parent", "chosen", "kind"),
    [
        *(("IMAGINE", f"U{n}", "UPSCALE") for n in range(1, 5)),
        *(("BLEND", f"V{n}", "VARIATION") for n in range(1, 5)),
        ("VARIATION", "🔄", "VARIATION"),
        ("UPSCALE", "Vary (Strong)", "VARIATION"),
        ("UPSCALE", "Vary (Subtle)", "VARIATION"),
        ("UPSCALE", "Zoom Out 2x", "ZOOM"),
        ("UPSCALE", "Zoom Out 1.5x", "ZOOM"),
        *(("UPSCALE", arrow, "PAN") for arrow in ("⬅️", "➡️", "⬆️", "⬇️")),
    ],
)
def test_action_makes_its_kind(parent: str, chosen: str, kind: str) -> None:
    """A child has the kind that its action makes, its parent's prompt, and offers what its own kind does."""
    service, offered = grown(parent)
    child = told(service, data(act(service, offered[chosen])), 700.0)
    assert (child["action"], child["status"]) == (kind, "SUCCESS")
    assert child["prompt"] == service.tasks[FIRST_ID].prompt
    assert ("Vary (Region)" in json.dumps(child["actions"])) == (kind == "UPSCALE")
    assert not {action["customId"] for action in child["actions"]} & set(offered.values())
    assert service.created[0].fields == {"taskId": str(FIRST_ID), "customId": offered[chosen]}


def test_region_needs_a_mask() -> None:
    """Vary Region with a mask goes on; without one it waits for input and never moves."""
    service, offered = grown("UPSCALE")
    with_mask = data(act(service, offered["Vary (Region)"], base64Mask=IMAGE))
    without = data(act(service, offered["Vary (Region)"]))
    assert [told(service, task_id, 9e6)["status"] for task_id in (with_mask, without)] == ["SUCCESS", "MODAL"]
    assert told(service, without, 9e6)["startTime"] is None
    assert service.created[0].fields["base64Mask"] == SHOWN


@pytest.mark.parametrize(
    ("now", "task_id", "custom_id", "pool", "reason"),
    [
        (40.0, FIRST_ID + 9, "", "FAST", "not found"),
        (39.9, FIRST_ID, "", "FAST", "not succeeded"),
        (40.0, FIRST_ID, "MJ::JOB::upsample::1::made-up", "FAST", "does not offer"),
        (40.0, FIRST_ID, "", "NORMAL", "type"),
        (40.0, FIRST_ID + 1, "", "FAST", "not succeeded"),
        (40.0, FIRST_ID + 2, "", "FAST", "does not offer"),
    ],
)
def test_action_that_cannot_be_is_declined(now: float, task_id: int, custom_id: str, pool: str, reason: str) -> None:
    """Acting on what is unknown, unfinished, failed or does not offer it is code 400 under HTTP 200; none is made."""
    service, offered = grown()
    service.add_task(Life.fail(after=1.0), now=0.0, pool="FAST")
    service.add_task(Life.succeed(after=1.0), now=0.0, kind="DESCRIBE", pool="FAST")
    reply = act(service, custom_id or offered["U1"], now, task_id, type=pool)
    answer = json.loads(reply.body)
    assert (reply.status, answer["statusCode"], answer["data"]) == (200, 400, None)
    assert reason in answer["message"]
    assert not service.created
    assert not service.refused


def test_scripted_actions_can_be_acted_on() -> None:
    """What counts is what the record offers, scripted or not."""
    service = Simulator()
    actions = [{"customId": "MJ::JOB::upsample::9::mine", "emoji": "", "label": "U9"}]
    service.add_task(Life.steps([(0, "SUCCESS", "100%", {"actions": actions})]), now=0.0, pool="FAST")
    assert told(service, data(act(service, "MJ::JOB::upsample::9::mine")), 40.0)["action"] == "UPSCALE"


# Lives


def test_plans_are_used_one_after_the_other() -> None:
    """Each plan is for the next task that a request makes, banned words or not; tasks made by hand take none."""
    service = Simulator(lives=Lives(90.0))
    service.plan(Life.fail(after=7.0, reason="No."), unknown_for=2.0)
    service.plan(DONE, unknown_for=0.0)
    service.plan(None, unknown_for=3.0)
    service.add_task(now=0.0)
    failed, done, drawn, unplanned = (data(send(service, IMAGINE, 0.0, prompt="banned")) for _ in range(4))
    assert "not found" in json.loads(send(service, QUERY, 1.9, taskId=str(failed)).body)["message"]
    assert told(service, failed, 7.0)["failReason"] == "No."
    assert [told(service, done, now)["status"] for now in (39.9, 40.0)] == ["IN_PROGRESS", "SUCCESS"]
    assert "not found" in json.loads(send(service, QUERY, 2.9, taskId=str(drawn)).body)["message"]
    assert {told(service, task_id, 3.0)["status"] for task_id in (drawn, unplanned)} == {"FAILURE"}
    with pytest.raises(UsageError, match="unknown_for"):
        service.plan(None, unknown_for=-1.0)


def test_declined_action_uses_no_plan() -> None:
    """A plan waits for a task that is made."""
    service, offered = grown()
    service.plan(Life.fail(after=7.0), unknown_for=0.0)
    act(service, "made up")
    assert told(service, data(act(service, offered["U1"])), 47.0)["status"] == "FAILURE"


def test_created_tasks_are_on_the_list() -> None:
    """What requests make is shown on the list, newest first."""
    service = Simulator()
    ids = [data(send(service, IMAGINE, float(n), prompt="a cat")) for n in range(3)]
    page = data(send(service, LIST + "?page=1", 9.0))
    assert [record["taskId"] for record in page["tasks"]] == ids[::-1]


# Faults


@pytest.mark.parametrize("name", sorted(FAULTS.keys() - OF_LIST - OF_RECORDS - OF_ANY_RECORD - OF_WEBHOOKS))
def test_fault_of_a_submission_makes_one_task_or_none(name: str) -> None:
    """A fault that refuses makes none; one that drops or spoils the answer comes when one task was made."""
    service = Simulator()
    service.inject(Fault(name, only="submissions"))
    reply = send(service, IMAGINE, 0.0, prompt="a cat")
    refuses = reply.status >= 300 or b'"statusCode":40' in reply.body
    assert len(service.created) == (0 if refuses else 1)
    assert refuses == (name in MAKES_NONE)
    if name == "odd_envelope":
        assert json.loads(reply.body) == {"statusCode": "200", "message": "Success", "data": str(FIRST_ID)}
    elif name not in BODIES and name not in ENVELOPES:
        assert data(reply) == FIRST_ID
    assert service.injected == {name: 1}


def test_outage_makes_none() -> None:
    """While the service is down, or its limiter says no, nothing is made."""
    service = Simulator(rate=1.0, burst=1)
    service.down = True
    send(service, IMAGINE, 0.0, prompt="a cat")
    service.down = False
    assert [send(service, IMAGINE, 0.0, prompt="a cat").status for _ in range(2)] == [200, 429]
    assert len(service.created) == 1


def test_fault_is_kept_to_one_kind_of_call() -> None:
    """A fault by hand for one kind of call waits for it, and holds up no other fault."""
    service = Simulator()
    service.add_task(DONE, now=0.0)
    for fault in ("html_502", "list_error"):
        service.inject(fault)
    for only in ("submissions", "queries", "pages"):
        service.inject(Fault("unavailable", only=only))

    def statuses() -> list[int]:
        queried, turned = send(service, QUERY, 0.0, taskId=str(FIRST_ID)), send(service, LIST + "?page=1", 0.0)
        return [queried.status, turned.status, send(service, IMAGINE, 0.0, prompt="a cat").status]

    assert [statuses(), statuses(), statuses()] == [[503, 500, 503], [502, 503, 200], [200, 200, 200]]


@pytest.mark.parametrize("only", ["submissions", "queries", "pages"])
def test_share_is_kept_to_one_kind_of_call(only: str) -> None:
    """A share kept to one kind of call is that share of those calls, and befalls no others."""
    service = Simulator(faults={Fault("unavailable", only=only): 0.3})
    service.add_task(DONE, now=0.0)
    hit = {"submissions": 0, "queries": 0, "pages": 0}
    for _ in range(1000):
        hit["queries"] += send(service, QUERY, 0.0, taskId=str(FIRST_ID)).status == 503
        hit["pages"] += send(service, LIST + "?page=1", 0.0).status == 503
        hit["submissions"] += send(service, IMAGINE, 0.0, prompt="a cat").status == 503
    assert 240 < hit.pop(only) < 360
    assert set(hit.values()) == {0}


def test_fault_that_can_befall_nothing_is_refused() -> None:
    """A fault kept to calls that it never befalls, or to no call there is, is a usage error."""
    for name, only in (
        ("slow", "everything"),
        ("wrong_type", "submissions"),
        ("odd_fields", "submissions"),
        ("list_empty", "queries"),
        ("webhook_lost", "queries"),
    ):
        with pytest.raises(UsageError, match=only):
            Fault(name, only=only)
    service = Simulator()
    service.add_task(DONE, now=0.0)
    with pytest.raises(UsageError, match="no single task"):
        service.inject(Fault("slow", only="submissions"), task_id=FIRST_ID)
    service.inject(Fault("unavailable", only="queries"), task_id=FIRST_ID)
    assert send(service, QUERY, 0.0, taskId=str(FIRST_ID)).status == 503


# Images


def test_images_move_to_where_they_are_served() -> None:
    """Records tell images where they are served, the list too; an image is found there, at its first place, by path."""
    service = Simulator()
    service.add_task(DONE, now=0.0)
    first = told(service, FIRST_ID, 40.0)["imageDcUrl"]
    assert data(send(service, LIST + "?page=1", 40.0))["tasks"][0]["imageDcUrl"] == first
    service.show_images_at("http://127.0.0.1:1")
    service.add_task(DONE, now=0.0)
    moved = told(service, FIRST_ID, 40.0)["imageDcUrl"]
    assert moved == first.replace(CDN, "http://127.0.0.1:1")
    page = data(send(service, LIST + "?page=1", 40.0))["tasks"]
    assert [record["imageDcUrl"].startswith("http://127.0.0.1:1/") for record in page] == [True, True]
    for url in (first, moved, moved.removeprefix("http://127.0.0.1:1"), first + "?ex=65&is=65&hm=ab"):
        found = service.image(url, 40.0)
        assert found is not None, url
        assert found.task_id == FIRST_ID
    for url in (moved + "x", moved.replace(":1/", ":2/"), "/"):
        assert service.image(url, 40.0) is None, url
    assert service.image(moved, 39.0) is None
