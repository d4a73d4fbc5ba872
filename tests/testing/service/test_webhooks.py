"""The make-believe service's calls to webhooks: when they are due, what they post, and what goes wrong with them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from omgmj.errors import UsageError
from omgmj.testing.service.endpoints import IMAGINE
from omgmj.testing.service.faults import Fault
from omgmj.testing.service.lives import Life
from omgmj.testing.service.simulator import FIRST_ID, Simulator
from omgmj.testing.service.webhooks import LATEST, WebhookCall
from tests.testing.service.test_account import data, send, told

HOOK = "http://127.0.0.1:9/hook?key=1"
LIFE = Life.steps([(0, "NOT_START", None), (10, "IN_PROGRESS", "15%"), (20, "SUCCESS", "100%")])


def called(service: Simulator) -> list[tuple[float, WebhookCall]]:
    """Return all calls that are ever due, each with when it is."""
    calls = []
    while (at := service.webhooks.next_at) is not None:
        calls += [(at, call) for call in service.webhook_calls(at)]
    return calls


def progress(calls: list[tuple[float, WebhookCall]]) -> list[Any]:
    """Return what is told, in the order in which it is sent."""
    order = sorted(calls, key=lambda due: due[0] + due[1].delay)
    return [json.loads(call.body)["progress"] for _, call in order]


def test_each_moment_is_called_once() -> None:
    """A call is due at each moment, a little late, with the record as a query tells it, not wrapped."""
    service = Simulator()
    service.plan(LIFE, unknown_for=0.0)
    data(send(service, IMAGINE, 5.0, prompt="a cat", webhook=HOOK))
    assert service.webhooks.next_at == 5.0
    assert service.webhook_calls(4.9) == []
    calls = called(service)
    assert [at for at, _ in calls] == [5.0, 15.0, 25.0]
    for at, call in calls:
        assert call.url == HOOK
        assert 0 <= call.delay <= LATEST
        assert json.loads(call.body) == told(service, FIRST_ID, at)
    assert json.loads(calls[-1][1].body)["webhookUrl"] == HOOK


def test_calls_are_the_same_for_a_seed_and_late_on_the_mean() -> None:
    """Lateness is drawn by the seed, apart from the tasks' lives; it comes to 0.3 s."""

    def lateness(seed: int) -> list[float]:
        service = Simulator(seed=seed)
        for _ in range(200):
            service.add_task(LIFE, now=0.0, webhook=HOOK)
        return [call.delay for _, call in called(service)]

    assert lateness(1) == lateness(1) != lateness(2)
    assert sum(lateness(1)) / 600 == pytest.approx(0.3, abs=0.05)
    plain, hooked = Simulator(seed=3), Simulator(seed=3)
    lives = [
        [one.add_task(now=0.0, webhook=hook), one.tasks[FIRST_ID].life] for one, hook in ((plain, None), (hooked, HOOK))
    ]
    assert lives[0] == lives[1]


@pytest.mark.parametrize(
    ("url", "is_called"),
    [
        (HOOK, True),
        ("http://localhost:9/", True),
        ("https://[::1]:9/", True),
        ("http://127.9.9.9/", True),
        ("https://bot.example.org/hook", False),
        ("http://127.0.0.1.example.org/", False),
        ("http://127.0.0.1@example.org/", False),
        ("http://0.0.0.0/", False),
        ("http://10.0.0.1/", False),
    ],
)
def test_only_loopback_is_called(url: str, is_called: bool) -> None:
    """A webhook anywhere else is told in records and counted, and never called."""
    service = Simulator()
    made = service.add_task(LIFE, now=0.0, webhook=url)
    assert told(service, made, 0.0)["webhookUrl"] == url
    assert bool(called(service)) == is_called
    assert service.webhooks.elsewhere == (not is_called)


@pytest.mark.parametrize("wrong", ["", "127.0.0.1:9", "ftp://127.0.0.1/", "http://[", 5])
def test_what_is_no_url_is_refused(wrong: Any) -> None:
    """A webhook that is no http URL is a usage error."""
    with pytest.raises(UsageError, match="webhook"):
        Simulator().add_task(LIFE, now=0.0, webhook=wrong)


def hooked(count: int = 1) -> Simulator:
    service = Simulator()
    for _ in range(count):
        service.add_task(LIFE, now=0.0, webhook=HOOK)
    return service


def test_calls_are_lost() -> None:
    """A call that is lost is counted and never comes; the next one does."""
    service = hooked()
    service.inject("webhook_lost")
    assert progress(called(service)) == ["15%", "100%"]
    assert service.injected == {"webhook_lost": 1}


def test_calls_come_later() -> None:
    """A late call comes so many seconds later than it would have."""
    usual, late = hooked(), hooked()
    late.inject(Fault("webhook_late", seconds=7.0))
    delays = [[call.delay for _, call in called(service)] for service in (usual, late)]
    assert delays[1] == pytest.approx([delays[0][0] + 7.0, *delays[0][1:]])


def test_calls_are_swapped() -> None:
    """A swapped call comes after the next one of its task; the last one has none, and waits for another task."""
    service = hooked()
    service.inject("webhook_swapped")
    assert progress(called(service)) == ["15%", None, "100%"]
    service = hooked()
    service.trouble("webhook_swapped", now=0.0)
    assert progress(called(service)) == [None, "100%", "15%"]
    assert service.injected == {"webhook_swapped": 2}


def test_faults_of_webhooks_are_kept_to_some_tasks_and_spare_requests() -> None:
    """What befalls webhooks spares requests and the other way round; it can be kept to one task, or be a share."""
    service = hooked(2)
    service.inject("webhook_lost", times=None, task_id=FIRST_ID)
    service.inject("html_502")
    calls = called(service)
    assert {json.loads(call.body)["taskId"] for _, call in calls} == {FIRST_ID + 1}
    assert service.injected == {"webhook_lost": 3}
    service = Simulator(faults={"webhook_lost": 0.5})
    for _ in range(200):
        service.add_task(LIFE, now=0.0, webhook=HOOK)
    assert 200 < len(called(service)) < 400
    assert told(service, FIRST_ID, 0.0)["taskId"] == FIRST_ID
