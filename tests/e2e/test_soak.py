"""The whole of it under faults: over real loopback HTTP in virtual time, and through a real nginx in real time."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import trustme

import omgmj
from omgmj.testing import FakeService, Life
from tests.conftest import need

TASKS = 2000
MANY = 1000
SHARES = {
    "drop_before_headers": 0.015,
    "drop_after_headers": 0.015,
    "server_error": 0.015,
    "unavailable": 0.015,
    "html_200": 0.01,
    "html_502": 0.01,
    "cut_short": 0.01,
}
LIMIT, BURST = 200, 20


def check_injected(fake: FakeService) -> None:
    """Print what was injected; fail where a fault came to less than a third of its share."""
    answered = fake.requests - fake.limited
    print(f"\n{fake.requests} requests, {fake.limited} of them turned away by the limiter")
    for fault, share in SHARES.items():
        print(f"{fault:20} {fake.injected[fault]:6} ({fake.injected[fault] / answered:.2%} of {share:.2%} wanted)")
    assert fake.refused == []
    assert all(fake.injected[fault] >= share / 3 * answered for fault, share in SHARES.items())


@pytest.mark.slow
async def test_two_thousand_tasks_over_loopback() -> None:
    """2,000 tasks over real HTTP while 9 % of answers are faults and a limiter says 429: each final record once."""
    async with FakeService(tasks=TASKS, lives="fast", seed=7, faults=SHARES, rate=LIMIT / 4, burst=BURST) as fake:
        await fake.serve()
        async with omgmj.Session("t", base_url=fake.url, rate=2.5 * LIMIT) as session:
            done = [task.id async for task in session.watch(fake.task_ids)]
        assert sorted(done) == fake.task_ids
        check_injected(fake)
        assert fake.limited > 0


@asynccontextmanager
async def nginx_before(upstream: str, folder: Path) -> AsyncIterator[tuple[str, ssl.SSLContext]]:
    """Run nginx with TLS and `limit_req` in front of `upstream`; give its URL and a context that trusts it."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "nginx.conf").write_text(f"""
        daemon off; pid {folder}/pid; error_log stderr crit; worker_processes 1;
        {"user root;" if os.geteuid() == 0 else ""}
        events {{ worker_connections 1024; }}
        http {{
          access_log off;
          client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
          uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
          limit_req_zone $http_authorization zone=k:1m rate={LIMIT}r/s; limit_req_status 429; limit_req_log_level info;
          upstream app {{ server {upstream.removeprefix("http://")}; keepalive 32; }}
          server {{
            listen 127.0.0.1:{port} ssl; ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
            keepalive_requests 1000000;
            location / {{
              limit_req zone=k burst={BURST} nodelay; proxy_pass http://app; proxy_http_version 1.1;
              proxy_set_header Connection "";
            }}
          }}
        }}""")
    process = await asyncio.create_subprocess_exec("nginx", "-p", folder, "-e", "stderr", "-c", folder / "nginx.conf")
    try:
        for _ in range(500):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                assert process.returncode is None, "nginx did not start"
                await asyncio.sleep(0.01)
            else:
                writer.close()
                break
        yield f"https://127.0.0.1:{port}", trusting
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.slow
@pytest.mark.real_time
async def test_a_thousand_tasks_through_nginx(tmp_path: Path) -> None:
    """Behind a real limiter and TLS nothing is lost; the pace settles at what is allowed, with few 429s."""
    need("nginx", shutil.which("nginx"))
    chance = random.Random(7)
    async with FakeService(seed=7, faults=SHARES) as fake:
        ids = [fake.add_task(Life.succeed(chance.uniform(10, 25))) for _ in range(MANY)]
        fake.inject("list_forbidden", times=None)  # With pages the limit would not be reached.
        async with nginx_before(await fake.serve(), tmp_path) as (url, trusting):
            session = omgmj.Session(
                "t",
                base_url=url,
                rate=2.5 * LIMIT,
                backoff=omgmj.Fixed(1.0),
                http=lambda: aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting)),
            )
            samples = []

            async def sample() -> None:
                while True:
                    stats = session.stats()
                    if stats.overdue:  # Else the limit is no limit: the last few tasks need less.
                        samples.append((asyncio.get_running_loop().time(), stats.queries, stats.rate_limited))
                    await asyncio.sleep(0.25)

            async with session:
                sampling = asyncio.ensure_future(sample())
                done = [task.id async for task in session.watch(ids)]
                sampling.cancel()
                await asyncio.gather(sampling, return_exceptions=True)
        assert sorted(done) == ids
        check_injected(fake)
        since, until = samples[len(samples) // 2], samples[-1]
        answers, limited = until[1] - since[1], until[2] - since[2]
        used = (answers - limited) / (until[0] - since[0]) / LIMIT
        print(f"second half: {limited / answers:.2%} of {answers} answers were 429, {used:.1%} of the limit was used")
        assert limited < 0.02 * answers
        assert used >= 0.8
