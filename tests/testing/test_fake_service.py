"""`FakeService` as its users see it: in memory, and over loopback through a plain aiohttp client."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import pytest
import trustme

from omgmj.client.secrets import Secret
from omgmj.errors import AuthError, TransportError, UsageError
from omgmj.protocol.messages import FORM, KEPT_HEADERS, Answer, Request
from omgmj.session import Session
from omgmj.testing import FAULTS, FakeService, Fault, InMemoryTransport, Life, Lives
from omgmj.testing.service import faults, lives
from tests.testing.png import decode, quarters

QUERY = "/api/v1/ai/draw/mj/query"
LIFE = Life.succeed(after=40.0, queue=3.0)
BASE = "https://fake.invalid"


def request(task_id: int) -> Request:
    return Request("POST", QUERY, f"model=midjourney&taskId={task_id}".encode(), idempotent=True)


async def query(transport: InMemoryTransport, task_id: int, key: str = "t") -> Answer:
    return await transport.send(BASE, request(task_id), Secret(key))


def data(answer: Answer) -> Any:
    return json.loads(answer.body)["data"]


@asynccontextmanager
async def client(**settings: Any) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(**settings) as http:
        yield http


async def post(http: aiohttp.ClientSession, fake: FakeService, task_id: int, **settings: Any) -> tuple[int, bytes]:
    headers = {"Authorization": "Bearer t", "Content-Type": FORM}
    async with http.post(
        fake.url + QUERY, data=request(task_id).body, headers=headers, allow_redirects=False, **settings
    ) as response:
        return response.status, await response.read()


# In memory


async def test_tasks_live_by_the_loops_clock() -> None:
    """A task is told as the event loop's time goes on, and Date and times in records agree with it."""
    async with FakeService() as fake:
        await asyncio.sleep(100.0)
        assert fake.now == pytest.approx(100.0)
        task_id = fake.add_task(LIFE)
        transport = fake.transport()
        seen = []
        for _ in range(5):
            seen.append(data(await query(transport, task_id))["progress"])
            await asyncio.sleep(10.0)
        assert seen == [None, "15%", "31%", "62%", "100%"]
        answer = await query(transport, task_id)
        assert parsedate_to_datetime(answer.headers["date"]).isoformat() == "2026-01-01T00:02:30+00:00"
        assert data(answer)["finishTime"] == "2026-01-01T00:02:20.000Z"


@pytest.mark.real_time
async def test_real_time_on_a_plain_loop() -> None:
    """On a plain event loop a task of a few milliseconds takes a few milliseconds, and none less."""
    async with FakeService() as fake:
        loop = asyncio.get_running_loop()
        began = loop.time()
        task_id = fake.add_task(Life.succeed(after=0.02, queue=0.0))
        transport = fake.transport()
        while data(await query(transport, task_id))["status"] != "SUCCESS":  # noqa: ASYNC110 (it is queried)
            await asyncio.sleep(0.002)
        assert loop.time() - began >= 0.02 - 1e-6  # uvloop's clock tells whole milliseconds, and may lag


async def test_tasks_from_the_beginning() -> None:
    """Tasks asked for at the start are there before the service is entered, and as many fail as was said."""
    fake = FakeService(tasks=6, failing=2, lives=Lives(5.0), seed=3)
    assert fake.task_ids == list(range(3432, 3438))
    async with fake:
        await asyncio.sleep(600.0)
        transport = fake.transport()
        statuses = [data(await query(transport, task_id))["status"] for task_id in fake.task_ids]
        assert sorted(statuses) == ["FAILURE"] * 2 + ["SUCCESS"] * 4
        assert fake.add_tasks(2, failing=2) == [3438, 3439]
        assert data(await query(transport, 3438))["submitTime"] == "2026-01-01T00:10:00.000Z"


async def test_headers_in_memory_are_those_a_transport_keeps() -> None:
    """An answer in memory has lower-case headers, only those that a transport keeps, and the right length."""
    async with FakeService() as fake:
        answer = await query(fake.transport(), fake.add_task(LIFE))
        assert set(answer.headers) == {"date", "content-type", "content-length"} <= set(KEPT_HEADERS)
        assert answer.headers["content-length"] == str(len(answer.body))
        assert fake.transport().limit is None
        await fake.transport().aclose()


async def test_counters_tell_what_came() -> None:
    """Requests, queries an ID, times, refusals, the limiter's 429s and injected faults are counted apart."""
    async with FakeService(tasks=2, rate=1.0, burst=4, retry_after=2) as fake:
        transport = fake.transport()
        await query(transport, 3432)
        await query(transport, 3432)
        await query(transport, 3433, "wrong")
        fake.inject("html_502")
        await query(transport, 3433)
        limited = await query(transport, 3433)
        assert (limited.status, limited.headers["retry-after"]) == (429, "2")
        assert fake.requests == len(fake.times) == 5
        assert fake.asked == {3432: 2, 3433: 1}
        assert fake.refused == ["401: the token is not one of those accepted"]
        assert fake.injected == {"html_502": 1}
        assert fake.limited == 1


async def test_pages_of_the_list() -> None:
    """The list is served in memory and over loopback alike; pages and queries are counted apart."""
    turn = Request("POST", "/api/v1/ai/draw/mj/query-mj-tasks?page=1&pageSize=5", b"model=midjourney", idempotent=True)
    async with FakeService(tasks=7, list_lag=10.0) as fake, client() as http:
        await asyncio.sleep(10.0)
        answer = await fake.transport().send(BASE, turn, Secret("t"))
        assert [record["taskId"] for record in data(answer)["tasks"]] == [3438, 3437, 3436, 3435, 3434]
        await fake.serve()
        headers = {"Authorization": "Bearer t", "Content-Type": FORM}
        async with http.post(fake.url + turn.path, data=turn.body, headers=headers) as response:
            assert await response.read() == answer.body
        await query(fake.transport(), 3432)
        assert (fake.pages, fake.asked, fake.requests) == ({1: 2}, {3432: 1}, 3)
        assert fake.list_lag == 10.0
        fake.list_lag = 5.0
        assert fake.list_lag == 5.0


async def test_foreign_tasks_are_nobodys() -> None:
    """Foreign tasks, mixed in or made by hand, are told but stand in no list of IDs to watch."""
    async with FakeService(tasks=50, foreign_share=0.5) as fake:
        assert len(fake.task_ids) == 50
        mixed = len(fake.foreign_ids)
        assert 30 < mixed < 80
        new = fake.add_foreign(4)
        assert fake.foreign_ids[mixed:] == new
        fake.add_tasks(50)
        assert len(fake.task_ids) == 100
        assert not set(fake.task_ids) & set(fake.foreign_ids)
        assert data(await query(fake.transport(), new[0]))["taskId"] == new[0]


async def test_requests_in_memory_are_concurrent() -> None:
    """Each request gives way to the event loop, takes its latency, and all that are out at once are counted."""
    async with FakeService(latency=2.0) as fake:
        task_id = fake.add_task(LIFE)
        transport = fake.transport()
        await asyncio.gather(*(query(transport, task_id) for _ in range(10)))
        assert fake.in_flight_peak == 10
        assert fake.now == pytest.approx(2.0)
        assert set(fake.times) == {1.0}
    async with FakeService(tasks=1) as fake:
        transport = fake.transport()
        await asyncio.gather(*(query(transport, 3432) for _ in range(3)))
        assert fake.in_flight_peak == 3


async def test_trouble_by_the_loops_clock() -> None:
    """Trouble begins and ends by the event loop's clock, for all or for the IDs that it is kept to."""
    async with FakeService(tasks=3) as fake:
        await asyncio.sleep(100.0)
        fake.trouble("html_502", after=10.0, seconds=20.0)
        fake.trouble("unavailable", after=40.0, task_id=(3432, 3433))
        transport, seen = fake.transport(), []
        for _ in range(5):
            seen.append([(await query(transport, task_id)).status for task_id in fake.task_ids])
            await asyncio.sleep(10.0)
        assert seen == [[200] * 3, [502] * 3, [502] * 3, [200] * 3, [503, 503, 200]]


@pytest.mark.parametrize("name", ["drop_before_headers", "drop_after_headers", "cut_short"])
async def test_broken_connections_in_memory(name: str) -> None:
    """A connection that breaks is a TransportError in memory, as over the network."""
    async with FakeService(tasks=1, faults={name: 1.0}) as fake:
        with pytest.raises(TransportError):
            await query(fake.transport(), 3432)
        assert fake.injected == {name: 1}


@pytest.mark.parametrize("name", ["silence", "bad_chunk"])
async def test_silence_in_memory_ends_by_cancellation_only(name: str) -> None:
    """What hangs over the network hangs in memory, until it is cancelled."""
    async with FakeService(tasks=1) as fake:
        fake.inject(name)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1e6):
                await query(fake.transport(), 3432)
        assert data(await query(fake.transport(), 3432))["taskId"] == 3432
        assert fake.in_flight_peak == 1


async def test_slow_answer_tells_what_was() -> None:
    """A slow answer comes late and tells the task as it was when it was asked for."""
    async with FakeService() as fake:
        task_id = fake.add_task(LIFE)
        fake.inject(Fault("slow", seconds=60.0))
        record = data(await query(fake.transport(), task_id))
        assert fake.now == pytest.approx(60.0)
        assert record["status"] == "NOT_START"


async def test_outage_in_memory() -> None:
    """While the service is down, by switch or for a time, every request fails and is counted."""
    async with FakeService(tasks=1) as fake:
        transport = fake.transport()
        fake.down = True
        assert fake.down
        with pytest.raises(TransportError):
            await query(transport, 3432)
        fake.down = False
        fake.outage(until=fake.now + 10.0)
        with pytest.raises(TransportError):
            await query(transport, 3432)
        await asyncio.sleep(10.0)
        assert (await query(transport, 3432)).status == 200
        fake.down = True
        fake.heal()
        assert (await query(transport, 3432)).status == 200
        assert fake.injected == {"outage": 2}
        assert fake.requests == 4


async def test_token_rotates() -> None:
    """The set of accepted tokens can be changed while the service runs."""
    first = "old"
    async with FakeService(tasks=1, token=first) as fake:
        transport = fake.transport()
        assert (await query(transport, 3432, "old")).status == 200
        fake.tokens.add("new")
        fake.tokens.discard("old")
        assert (await query(transport, 3432, "old")).status == 401
        assert (await query(transport, 3432, "new")).status == 200


async def test_image_is_streamed_in_memory() -> None:
    """The image of a finished task is a whole PNG in chunks; any other URL is 404."""
    async with FakeService() as fake:
        task_id = fake.add_task(Life.succeed(after=0.0, queue=0.0))
        transport = fake.transport()
        url = data(await query(transport, task_id))["imageDcUrl"]
        async with transport.stream(url) as stream:
            assert (stream.status, stream.headers["content-type"]) == (200, "image/png")
            body = b"".join([part async for part in stream.chunks])
        assert stream.headers["content-length"] == str(len(body))
        assert body == fake.image(task_id)
        assert len(quarters(decode(body))) == 4
        for without in (1, fake.add_task(kind="DESCRIBE")):
            with pytest.raises(UsageError, match="no task"):
                fake.image(without)
        async with transport.stream("https://cdn.discordapp.com/none.png") as stream:
            assert stream.status == 404


async def test_image_is_served_where_records_say() -> None:
    """Once served, records tell images at the service's own URL; they are there without a token, and no request."""
    async with FakeService() as fake, client() as http:
        await fake.serve()
        task_id = fake.add_task(LIFE)
        await asyncio.sleep(40.0)
        url = data(await query(fake.transport(), task_id))["imageDcUrl"]
        assert url.startswith(fake.url + "/")
        assert url.endswith(".png")
        for place in (url, url + "?ex=65&is=65&hm=ab"):
            async with http.get(place) as response:
                body = await response.read()
                assert (response.status, response.content_type) == (200, "image/png")
                assert response.content_length == len(body)
                assert body == fake.image(task_id)
        async with fake.transport().stream(url) as stream:
            assert stream.status == 200
        running = fake.add_task(LIFE)
        for place in (
            url.replace(".png", ".gif"),
            fake.url + "/attachments/",
            url.replace(str(task_id), str(running)),
        ):
            async with http.get(place) as response:
                assert response.status == 404
        assert (fake.requests, fake.refused) == (1, [])
        assert fake.downloads == {task_id: 3}


async def test_submission_whose_answer_was_lost_is_seen() -> None:
    """What was made stands in `created`, also where the connection dropped; a plan says how it lives."""
    body = b"model=midjourney&prompt=a+cat&type=NORMAL"
    imagine = Request("POST", "/api/v1/ai/draw/mj/imagine", body, idempotent=False)
    async with FakeService(faults={Fault("unavailable", only="queries"): 1.0}) as fake:
        await asyncio.sleep(5.0)
        fake.plan(LIFE)
        fake.inject(Fault("drop_after_headers", only="submissions"))
        transport = fake.transport()
        with pytest.raises(TransportError):
            await transport.send(BASE, imagine, Secret("t"))
        (made,) = fake.created
        assert (made.kind, made.at, made.fields) == ("IMAGINE", 5.0, {"prompt": "a cat", "type": "NORMAL"})
        assert fake.task_ids == [made.task_id]
        assert (await query(transport, made.task_id)).status == 503
        fake.heal()
        await asyncio.sleep(40.0)
        assert data(await query(transport, made.task_id))["status"] == "SUCCESS"


async def test_port_that_is_taken_can_be_tried_again() -> None:
    """Where the port is taken the error says so, and the service can be served elsewhere."""
    async with FakeService() as one, FakeService() as other:
        await one.serve()
        with pytest.raises(OSError, match="in use"):
            await other.serve(port=int(one.url.rpartition(":")[2]))
        assert await other.serve() != one.url


async def test_session_is_ready_for_use() -> None:
    """A session from the service waits for a task in memory, with the service's token or one of the caller's."""
    async with FakeService() as fake:
        task_id = fake.add_task(LIFE)
        async with fake.session(rate=5.0) as session:
            assert (await session.wait(task_id)).succeeded
        async with fake.session("wrong") as session:
            with pytest.raises(AuthError):
                await session.query(task_id)


async def test_session_over_loopback() -> None:
    """A session that is given the service's URL waits for a task over real HTTP."""
    async with FakeService() as fake:
        await fake.serve()
        task_id = fake.add_task(LIFE)
        async with Session(fake.token, base_url=fake.url) as session:
            assert (await session.wait(task_id)).succeeded
    assert not fake.refused


async def test_a_service_that_was_left_answers_nobody() -> None:
    """After the service was left a request in memory fails like a refused connection."""
    async with FakeService(tasks=1) as fake:
        transport = fake.transport()
    with pytest.raises(TransportError, match="not running"):
        await query(transport, 3432)
    with pytest.raises(TransportError, match="not running"):
        async with transport.stream("https://cdn.discordapp.com/none.png"):
            pass


async def test_misuse_is_a_usage_error() -> None:
    """What cannot be is refused with a text that says what can."""
    with pytest.raises(UsageError, match="from 0 to 2"):
        FakeService(tasks=2, failing=3)
    with pytest.raises(UsageError, match="latency"):
        FakeService(latency=-1.0)
    with pytest.raises(UsageError, match="tasks"):
        FakeService(tasks=-1)
    with pytest.raises(UsageError, match="html_502"):
        FakeService(faults={"earthquake": 0.1})
    fake = FakeService()
    assert fake.now == 0.0
    with pytest.raises(UsageError, match="enter"):
        fake.transport()
    with pytest.raises(UsageError, match="enter"):
        await fake.serve()
    async with fake:
        with pytest.raises(UsageError, match="serve"):
            _ = fake.url
        await fake.serve()
        with pytest.raises(UsageError, match="already"):
            await fake.serve()
    with pytest.raises(UsageError, match="once"):
        await fake.__aenter__()


@pytest.mark.parametrize(
    "settings",
    [
        {"lives": None},
        {"lives": "slow"},
        {"epoch": "2026-01-01"},
        {"epoch": datetime(2026, 1, 1)},  # noqa: DTZ001 (one without a zone is what is refused)
        {"token": None},
        {"token": "two words"},
        {"faults": ["html_502"]},
        {"faults": {5: 0.1}},
    ],
)
def test_settings_of_a_wrong_type(settings: dict[str, Any]) -> None:
    """A setting of a wrong type is refused at once, not when the first request comes."""
    with pytest.raises(UsageError):
        FakeService(**settings)


async def test_lives_of_a_wrong_type() -> None:
    """A life, a prompt, a fault or a port that is none is refused where it is handed in."""
    never: Any
    async with FakeService() as fake:
        for never in ("short", 5, [(0, "SUCCESS", "100%")]):
            with pytest.raises(UsageError, match="a life must be"):
                fake.add_task(never)
            with pytest.raises(UsageError, match="a life must be"):
                fake.plan(never)
        never = 5
        with pytest.raises(UsageError, match="prompt"):
            fake.add_task(prompt=never)
        never = ["html_502"]
        with pytest.raises(UsageError, match="no fault"):
            fake.inject(never)
        never = ["15%"]
        with pytest.raises(UsageError, match="a step"):
            Life.fail(steps=never)
        with pytest.raises(UsageError, match="mapping"):
            Life.steps([(0, "SUCCESS", "100%", never)])
        for never in (-1, 65536, "80"):
            with pytest.raises(UsageError, match="port"):
                await fake.serve(never)
        assert (fake.task_ids, fake.requests) == ([], 0)
        await fake.serve()


def test_what_users_need_is_exported() -> None:
    """Faults and lives can be had from the one module that users import."""
    assert FAULTS is faults.FAULTS
    assert (Life, Lives, Fault) == (lives.Life, lives.Lives, faults.Fault)


# Over loopback


async def test_real_http_over_loopback() -> None:
    """Over loopback the same answers come, on connections that are kept open, while virtual time goes on."""
    async with FakeService() as fake, client() as http:
        assert await fake.serve() == fake.url
        assert fake.url.startswith("http://127.0.0.1:")
        task_id = fake.add_task(LIFE)
        for status in ("NOT_START", "IN_PROGRESS", "SUCCESS"):
            code, body = await post(http, fake, task_id)
            assert (code, json.loads(body)["data"]["status"]) == (200, status)
            await asyncio.sleep(20.0)
        answers = await asyncio.gather(*(post(http, fake, task_id) for _ in range(50)))
        assert {code for code, _ in answers} == {200}
        async with http.get(fake.url + "/") as response:
            assert response.status == 404
            assert response.headers["Date"] == "Thu, 01 Jan 2026 00:01:00 GMT"
    assert fake.requests == 54
    assert fake.in_flight_peak > 1
    assert len(fake.refused) == 1


async def test_headers_sent_twice_are_seen_as_one_list() -> None:
    """A header that a client sends twice is not taken for a good one."""
    async with FakeService(tasks=1) as fake, client() as http:
        await fake.serve()
        headers = [("Authorization", "Bearer t"), ("Authorization", "Bearer t"), ("Content-Type", FORM)]
        async with http.post(fake.url + QUERY, data=request(3432).body, headers=headers) as response:
            assert response.status == 401


async def test_tls_over_loopback() -> None:
    """With an SSL context the service speaks TLS, raw faults included."""
    authority = trustme.CA()
    server, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(trusting)
    async with FakeService(tasks=1) as fake, client(connector=aiohttp.TCPConnector(ssl=trusting)) as http:
        await fake.serve(ssl=server)
        assert fake.url.startswith("https://127.0.0.1:")
        assert (await post(http, fake, 3432))[0] == 200
        fake.inject("cut_short")
        with pytest.raises(aiohttp.ClientPayloadError):
            await post(http, fake, 3432)
        fake.inject("drop_before_headers")
        with pytest.raises(aiohttp.ClientConnectionError):
            await post(http, fake, 3432)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("drop_before_headers", aiohttp.ClientConnectionError),
        ("drop_after_headers", aiohttp.ClientPayloadError),
        ("cut_short", aiohttp.ClientPayloadError),
    ],
)
async def test_broken_connections_over_loopback(name: str, error: type[Exception]) -> None:
    """A connection that breaks is really broken, where the fault says, and the next request is fine."""
    async with FakeService(tasks=1) as fake, client() as http:
        await fake.serve()
        for _ in range(5):
            fake.inject(name)
            with pytest.raises(error):
                await post(http, fake, 3432)
            assert (await post(http, fake, 3432))[0] == 200
    assert fake.injected == {name: 5}


async def test_headers_are_out_before_the_drop() -> None:
    """Where the connection drops after the headers, a client has seen the status."""
    async with FakeService(tasks=1, faults={"drop_after_headers": 1.0}) as fake, client() as http:
        await fake.serve()
        headers = {"Authorization": "Bearer t", "Content-Type": FORM}
        async with http.post(fake.url + QUERY, data=request(3432).body, headers=headers) as response:
            assert response.status == 200
            assert response.content_length


@pytest.mark.parametrize("name", ["silence", "bad_chunk"])
async def test_hanging_answers_over_loopback(name: str) -> None:
    """A silent service, and a bad size of a later chunk, hang a client until its own timeout."""
    async with FakeService(tasks=1) as fake, client() as http:
        await fake.serve()
        fake.inject(name)
        with pytest.raises(TimeoutError):
            await post(http, fake, 3432, timeout=aiohttp.ClientTimeout(total=50.0))
        assert fake.now >= 50.0
        assert (await post(http, fake, 3432))[0] == 200


async def test_every_other_fault_over_loopback() -> None:
    """Every fault that leaves the connection whole comes over loopback as it comes in memory."""
    connections = {"drop_before_headers", "drop_after_headers", "cut_short", "bad_chunk", "silence"}
    everything = FAULTS.keys() - connections - faults.OF_LIST - faults.OF_WEBHOOKS - {"no_image_yet"}
    async with FakeService() as fake, client() as http:
        await fake.serve()
        fake.add_task(LIFE)
        task_id = fake.add_task(Life.steps([(0, "NOT_START", None), (1, "IN_PROGRESS", "15%")]))
        await asyncio.sleep(5.0)
        for name in everything:
            fake.inject(name, times=2)
            answer = await query(fake.transport(), task_id)
            status, body = await post(http, fake, task_id)
            assert status == answer.status, name
            if name != "slow":
                assert body == answer.body, name
        assert set(fake.injected) == everything


@pytest.mark.real_time
async def test_closing_is_quick_and_leaves_nothing() -> None:
    """Silent, slow and idle connections are cut off when the service is left; no task of it stays behind."""
    async with client() as http:
        async with FakeService(tasks=1) as fake:
            await fake.serve()
            await asyncio.gather(*(post(http, fake, 3432) for _ in range(20)))
            for fault in ("silence", "bad_chunk", Fault("slow", seconds=300.0)):
                fake.inject(fault, times=5)
            hanging = [asyncio.create_task(post(http, fake, 3432)) for _ in range(15)]
            while fake.requests < 35:  # noqa: ASYNC110 (real requests, and nothing tells when they are in)
                await asyncio.sleep(0.001)
            started = time.monotonic()
        assert time.monotonic() - started < 10  # seconds, where one answer takes 300
        results = await asyncio.gather(*hanging, return_exceptions=True)
        assert all(isinstance(result, aiohttp.ClientError) for result in results), results


async def test_many_connections_at_once_under_virtual_time() -> None:
    """Many more new connections at once than a usual backlog do not time out under a virtual clock."""
    timeout = aiohttp.ClientTimeout(total=30.0)
    async with FakeService(tasks=1) as fake, client(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as http:
        await fake.serve()
        answers = await asyncio.gather(*(post(http, fake, 3432) for _ in range(400)))
        assert {status for status, _ in answers} == {200}


async def test_half_a_character_in_a_prompt_is_told() -> None:
    """A prompt that was cut inside an emoji is told in records and on pages, as servers in JavaScript do."""
    async with FakeService() as fake, fake.session() as session:
        task_id = fake.add_task(prompt="a cat \ud83d")
        assert (await session.query(task_id)).prompt == "a cat \ud83d"
        assert [task.prompt for task in (await session.page()).tasks] == ["a cat \ud83d"]
