"""The process stands still: stopped, asleep, blocked. That is nobody's time."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

import omgmj
from omgmj.testing import FakeService, Life

AWAY = 5.0
"""Seconds that the process stands still."""


class Elsewhere:
    """A service in a thread, which goes on while the event loop does not: each answer takes some time."""

    def __init__(self, *, after: float) -> None:
        self.after = after
        self.done_at = time.monotonic() + 3.0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        try:
            while True:
                threading.Thread(target=self._serve, args=self.listener.accept()[:1], daemon=True).start()
        except OSError:
            pass

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            while head := connection.recv(65536):
                time.sleep(self.after)
                status = "SUCCESS" if time.monotonic() > self.done_at else "IN_PROGRESS"
                data: object = 77 if b"imagine" in head else {"taskId": 5, "status": status, "action": "DESCRIBE"}
                body = json.dumps({"statusCode": 200, "message": "Success", "data": data}).encode()
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    service = Elsewhere(after=0.3)
    yield service
    service.listener.close()


@pytest.mark.real_time
async def test_a_blocking_call_costs_no_answer_and_no_wait(elsewhere: Elsewhere) -> None:
    """What was answered while the loop was blocked is read, though its time is over; waits get one poll more."""
    async with omgmj.Session(
        "t", base_url=elsewhere.url, request_timeout=2.0, retry=omgmj.Retry(attempts=1)
    ) as session:
        waiting = asyncio.ensure_future(session.wait(5, timeout=2.0, backoff=omgmj.Fixed(60.0)))
        stalling = asyncio.ensure_future(session.wait(5, stall=4.0, backoff=omgmj.Fixed(60.0)))
        await asyncio.sleep(0.6)
        asking = asyncio.ensure_future(session.query(5))
        making = asyncio.ensure_future(session.imagine("a cat"))
        await asyncio.sleep(0.1)
        time.sleep(AWAY)  # noqa: ASYNC251 (that is what it is about)
        assert (await asking).status == "IN_PROGRESS"
        assert await making == 77
        assert (await waiting).succeeded
        assert (await stalling).succeeded


@pytest.mark.real_time
async def test_an_answer_that_waits_in_the_socket_is_read(elsewhere: Elsewhere) -> None:
    """An answer that came before the time was over is read though the loop comes late, and nothing is uncertain."""
    async with omgmj.Session("t", base_url=elsewhere.url, request_timeout=1.0) as session:
        making = asyncio.ensure_future(session.imagine("a cat"))
        await asyncio.sleep(0.1)
        time.sleep(1.2)  # noqa: ASYNC251 (as above)
        assert await making == 77


@pytest.mark.real_time
async def test_a_wait_whose_task_goes_on_ends_after_one_poll_more(elsewhere: Elsewhere) -> None:
    """After a pause the timeout ends the wait all the same, as soon as one poll more has shown that it goes on."""
    elsewhere.done_at += 3600.0
    async with omgmj.Session("t", base_url=elsewhere.url) as session:
        waiting = asyncio.ensure_future(session.wait(5, timeout=2.0, backoff=omgmj.Fixed(60.0)))
        await asyncio.sleep(0.6)
        time.sleep(AWAY)  # noqa: ASYNC251 (as above)
        resumed = time.monotonic()
        with pytest.raises(omgmj.WaitTimeout) as caught:
            await waiting
        assert 0.3 <= time.monotonic() - resumed < 3.0
        assert caught.value.queries == 2


def started(command: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.real_time
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="there is no such signal here")
async def test_a_command_that_is_stopped_past_its_timeout() -> None:
    """`omgmj watch` that was stopped, and goes on after its timeout, brings the records of what ended meanwhile."""
    async with FakeService(token="sk-test") as fake:
        ids = [str(fake.add_task(Life.succeed(after=4.0))) for _ in range(3)]
        environment = os.environ | {"OMGMJ_BASE_URL": await fake.serve(), "OMGMJ_TOKEN": "sk-test"}
        command = [sys.executable, "-m", "omgmj", "watch", *ids, "--timeout", "5"]
        watch = started(command, environment)
        while not fake.requests:  # noqa: ASYNC110 (nothing tells when it has begun)
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        watch.send_signal(signal.SIGSTOP)
        await asyncio.sleep(7.0)
        watch.send_signal(signal.SIGCONT)
        out, said = await asyncio.to_thread(watch.communicate)
        assert (watch.returncode, out.count("\n")) == (0, 3), said


@pytest.mark.real_time
@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals here")
async def test_an_interrupt_while_dns_is_down() -> None:
    """An interrupt ends a command at once, also while the system looks a name up and will for long."""
    slow = (
        "import socket, time\nreal = socket.getaddrinfo\n"
        "def slow(host, *rest, **more):\n"
        "    if 'example' in str(host):\n        print('asked', flush=True)\n        time.sleep(60)\n"
        "    return real(host, *rest, **more)\n"
        "socket.getaddrinfo = slow\n"
    )
    code = f"{slow}\nfrom omgmj.__main__ import main\nraise SystemExit(main())"
    environment = os.environ | {"OMGMJ_BASE_URL": "https://mj.example", "OMGMJ_TOKEN": "sk-test"}
    command = [sys.executable, "-c", code, "watch", "1"]
    watch = started(command, environment)
    assert watch.stdout is not None
    assert await asyncio.to_thread(watch.stdout.readline) == "asked\n"
    watch.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, said = await asyncio.to_thread(watch.communicate)
    assert time.monotonic() - began < 10.0
    assert (watch.returncode, "interrupted" in said) == (130, True)
