"""The environment's proxies: what goes by them, and what does not."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
import trustme

import omgmj
from omgmj.client.proxies import Proxies
from omgmj.testing import FakeService, Life
from tests.proxy import Proxy

pytestmark = pytest.mark.usefixtures("no_settings")
HTTPS = "https://mj.example/a"


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, HTTPS, None),
        ({"HTTPS_PROXY": "http://p:1"}, HTTPS, "http://p:1"),
        ({"https_proxy": "http://u:w@p:1"}, HTTPS, "http://u:w@p:1"),
        ({"HTTPS_PROXY": "p:1"}, HTTPS, "http://p:1"),
        ({"ALL_PROXY": "https://p:1"}, HTTPS, "https://p:1"),
        ({"all_proxy": "socks5://s:1", "HTTPS_PROXY": "http://p:1"}, HTTPS, "http://p:1"),
        ({"HTTP_PROXY": "http://p:1"}, HTTPS, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "other.example"}, HTTPS, "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "a.example, mj.example"}, HTTPS, None),
        ({"HTTPS_PROXY": "http://p:1", "no_proxy": ".example"}, HTTPS, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, HTTPS, None),
        ({"ALL_PROXY": "http://p:1"}, "http://new-api:3000", None),
        *(({"HTTPS_PROXY": "socks5://p:1"}, f"https://{host}:8", None) for host in ("127.0.0.1", "localhost", "[::1]")),
    ],
)
def test_which_proxy(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], url: str, proxy: str | None) -> None:
    """The variables are read as everybody reads them; plain http and this machine go by none."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Proxies.of_environment().by(url) == proxy


@pytest.mark.parametrize(
    ("proxy", "said"),
    [
        ("socks5://u:secret@h:1", "aiohttp-socks.*environment_proxy=False"),
        ("socks5h://u:secret@h:1", "aiohttp-socks"),
        ("ftp://u:secret@h:1", "HTTPS_PROXY .* must be"),
        ("http://", "HTTPS_PROXY .* must be"),
        ("http://[secret", "HTTPS_PROXY .* must be"),
    ],
)
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "all_proxy"])
def test_a_proxy_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, name: str, proxy: str, said: str) -> None:
    """It is wrong usage, told before anything is sent, without its password; who leaves it alone may go on."""
    monkeypatch.setenv(name, proxy)
    with pytest.raises(omgmj.UsageError, match=said) as caught:
        omgmj.Session("t", base_url=HTTPS)
    assert "secret" not in str(caught.value)
    omgmj.Session("t", base_url=HTTPS, environment_proxy=False)
    omgmj.Session("t", base_url=HTTPS, http=aiohttp.ClientSession)
    omgmj.Session("t", base_url="http://127.0.0.1:8000")


@pytest.mark.real_time
async def test_a_session_and_its_downloads_go_by_the_proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Queries, submissions and downloads go by the proxy, which looks the names up; the token goes with none of them.

    A session that leaves the environment alone asks no proxy, and so finds no such host.
    """
    ca, proxy = trustme.CA(), Proxy()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    ca.issue_cert("mj.invalid", "cdn.invalid").configure_cert(server)
    ca.configure_trust(client)
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", client)
    async with FakeService(token="sk-a-secret-token") as fake, proxy.running():
        port = urlsplit(await fake.serve(ssl=server)).port
        task_id = fake.add_task(Life.succeed(after=0))
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        url = f"https://mj.invalid:{port}"
        async with omgmj.Session(fake.token, base_url=url) as session:
            task = await session.query(task_id)
            await session.imagine("a cat")
            assert task.image_url is not None
            there = omgmj.Task.from_dict(
                task.to_dict() | {"imageDcUrl": f"https://cdn.invalid:{port}{urlsplit(task.image_url).path}"}
            )
            assert (await session.download(there, tmp_path, via="discord")).stat().st_size
        assert set(proxy.asked_for) == {"mj.invalid", "cdn.invalid"}
        assert not any(b"secret" in head for head in proxy.heads)
        many = len(proxy.heads)
        retry = omgmj.Retry(attempts=1)
        async with omgmj.Session(fake.token, base_url=url, environment_proxy=False, retry=retry) as session:
            with pytest.raises(omgmj.TransportError):
                await session.query(task_id)
        assert len(proxy.heads) == many
