"""Settings: the environment and the config file."""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import ssl
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme

from omgmj.base_url import BASE_URL
from omgmj.cli.config import Settings, read_settings
from omgmj.cli.options import ServiceOptions
from omgmj.errors import UsageError
from omgmj.testing import FakeService, Life
from tests.proxy import Proxy


@pytest.fixture(autouse=True)
def surroundings(no_settings: None) -> None:
    """Give each test an environment without settings."""


def write_config(text: str, home: Path, folder: str = ".config") -> Path:
    path = home / folder / "omgmj" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def test_no_token() -> None:
    """Without a token the error names the variable and the file."""
    with pytest.raises(UsageError, match=r"there is no token: put it into OMGMJ_TOKEN .* ~/\.config/omgmj"):
        read_settings()


def test_config_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Token, base URL and rate come from the config file, in `XDG_CONFIG_HOME` where that is absolute."""
    path = write_config('token = "from-file"\nbase_url = "https://file.example"\nrate = 7\n', tmp_path, "xdg")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    settings = read_settings()
    assert (settings.token, settings.base_url, settings.rate) == ("from-file", "https://file.example", 7)
    assert f"came from {path};" in settings.about_token
    monkeypatch.setenv("XDG_CONFIG_HOME", "xdg")
    with pytest.raises(UsageError, match="there is no token"):
        read_settings()


def test_rate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The rate of the command line wins over that of the config file, and that over the library's own."""
    monkeypatch.setenv("OMGMJ_TOKEN", "t")
    assert read_settings().session(ServiceOptions()).stats().pace == 20
    write_config("rate = 7", tmp_path)
    assert read_settings().session(ServiceOptions()).stats().pace == 7
    assert read_settings().session(ServiceOptions(rate=3.5)).stats().pace == 3.5


def test_environment_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The environment's token and base URL win over the config file's; the host is the public one if none is named."""
    monkeypatch.setenv("OMGMJ_TOKEN", "from-environment")
    assert repr(read_settings().session(ServiceOptions())) == f"<omgmj.Session {BASE_URL}>"
    write_config('token = "from-file"\nbase_url = "https://file.example"\n', tmp_path)
    assert (read_settings().token, read_settings().base_url) == ("from-environment", "https://file.example")
    monkeypatch.setenv("OMGMJ_BASE_URL", "https://environment.example")
    assert repr(read_settings().session(ServiceOptions())) == "<omgmj.Session https://environment.example>"


def test_several_addresses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The config file and the environment may name several addresses, with commas between."""
    monkeypatch.setenv("OMGMJ_TOKEN", "t")
    write_config('base_url = "https://a.example, https://b.example"', tmp_path)
    assert repr(read_settings().session(ServiceOptions())) == "<omgmj.Session https://a.example, https://b.example>"
    monkeypatch.setenv("OMGMJ_BASE_URL", "https://c.example,https://d.example")
    assert repr(read_settings().session(ServiceOptions())) == "<omgmj.Session https://c.example, https://d.example>"


def test_token_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the settings' repr nor what is said of the token holds it."""
    monkeypatch.setenv("OMGMJ_TOKEN", "sk-secret")
    settings = read_settings()
    assert "secret" not in f"{settings!r} {settings.about_token}"
    assert "came from OMGMJ_TOKEN;" in settings.about_token


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("token = ", "is not TOML: "),
        pytest.param("a = " + "[" * 100_000, "is not TOML: ", id="nested too deeply"),
        ("tokens = 'secret'", "has the unknown key 'tokens'; known are token, base_url, rate"),
        ("token = 5", "token must be a string"),
        ("rate = true", "rate must be a number"),
        ("rate = '5'", "rate must be a number"),
        ("token = 'sec ret'", "must be one run of visible ASCII characters"),
        ("token = ''", "there is no token"),
    ],
)
def test_broken_config(tmp_path: Path, text: str, said: str) -> None:
    """What is wrong with a config file is said with its name, never with the token."""
    path = write_config(text, tmp_path)
    with pytest.raises(UsageError) as caught:
        read_settings()
    assert said in str(caught.value)
    assert str(path) in str(caught.value).replace("~", str(tmp_path))
    assert "sec" not in str(caught.value)


def test_a_token_may_end_in_a_line_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that was read from a file, line end and all, is taken without it."""
    monkeypatch.setenv("OMGMJ_TOKEN", "from-a-file\r\n")
    assert read_settings().token == "from-a-file"


def test_config_that_cannot_be_read(tmp_path: Path) -> None:
    """A config file that is a folder is named."""
    (tmp_path / ".config/omgmj/config.toml").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"cannot read ~/.config/omgmj/config.toml: Is a directory"):
        read_settings()


def test_wrong_base_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """A base URL that is none is refused before a proxy is sought."""
    monkeypatch.setenv("OMGMJ_TOKEN", "t")
    monkeypatch.setenv("OMGMJ_BASE_URL", "https://[x")
    with pytest.raises(UsageError, match="base_url"):
        read_settings().session(ServiceOptions())


# Where what is learned is kept.


def kept(token: str = "t", base_url: str = "https://mj.example") -> Path | None:  # noqa: S107 (a make-believe one)
    """Return where a session of the command line keeps what it learned."""
    return Settings(token, "here", base_url, None).learned()


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Have what is learned kept in a cache folder that is not there yet, and return it."""
    monkeypatch.delenv("OMGMJ_LEARNED")
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_file_for_each_account_and_host(cache: Path) -> None:
    """What is learned has a file for each account and host; nothing is made before it is written."""
    first = kept()
    others = [kept(token="sk-other"), kept(base_url="https://other.example"), kept(base_url="https://[2001:db8::1]")]
    assert len({first, *others}) == 4
    assert all(path is not None and path.parent == cache / "omgmj" for path in (first, *others))
    assert all(path is not None and re.fullmatch(r"learned-[\w.-]+\.json", path.name) for path in (first, *others))
    assert first == kept(base_url="https://mj.example/,https://mirror.example")
    assert not cache.exists()
    with pytest.raises(UsageError, match="base_url"):
        kept(base_url="nonsense")


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("platform", "folder"), [("linux", ".cache"), ("darwin", "Library/Caches"), ("win32", "AppData/Local")]
)
def test_the_usual_cache_folders(platform: str, folder: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the environment names no cache folder, or a relative one, it is the usual one of the system."""
    monkeypatch.setattr(sys, "platform", platform)
    for named in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", named)
        monkeypatch.setenv("LOCALAPPDATA", named)
        path = kept()
        assert path is not None
        assert path.parent == tmp_path / folder / "omgmj"


def test_it_is_kept_elsewhere_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """`OMGMJ_LEARNED` names a file, or turns it off."""
    for said in ("off", "OFF"):
        monkeypatch.setenv("OMGMJ_LEARNED", said)
        assert kept() is None
    monkeypatch.setenv("OMGMJ_LEARNED", "here.json")
    assert kept() == Path("here.json")
    monkeypatch.setenv("OMGMJ_LEARNED", "~/here.json")
    assert kept() == Path.home() / "here.json"


@pytest.mark.usefixtures("cache")
def test_there_may_be_no_place_for_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is kept where the cache folder cannot be made or written, and where nobody has a home."""
    (tmp_path / "file").write_text("")
    with monkeypatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        assert kept() is None
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda *_: False)
        assert kept() is None
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    assert kept() is None
    monkeypatch.setenv("OMGMJ_TOKEN", "t")
    assert read_settings().session(ServiceOptions()).stats().queries == 0


def query() -> tuple[int, int, str]:
    """Query task 1 in a process of its own, as aiohttp reads SSL_CERT_FILE when it is imported.

    Return the exit code, how many lines were printed, and what was written to stderr.
    """
    command = [sys.executable, "-m", "omgmj", "query", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout.count("\n"), done.stderr


def test_proxy_and_ca(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`HTTPS_PROXY` and `SSL_CERT_FILE` are honoured, and a netrc entry does no harm."""
    ca, service, proxy = trustme.CA(), FakeService(), Proxy()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("mj.example").configure_cert(context)
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    (tmp_path / ".netrc").write_text("machine mj.example login me password pass\n")
    (tmp_path / ".netrc").chmod(0o600)
    service.add_task(Life.steps([(0, "SUCCESS", "100%")]), task_id=1)
    service.tokens.add("sk-token")

    async def query_twice() -> None:
        async with service, proxy.running():
            monkeypatch.setenv("OMGMJ_TOKEN", "sk-token")
            port = urlsplit(await service.serve(ssl=context)).port
            monkeypatch.setenv("OMGMJ_BASE_URL", f"https://mj.example:{port}")
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
            monkeypatch.setenv("HTTPS_PROXY", f"me:pass@127.0.0.1:{proxy.port}")
            assert await asyncio.to_thread(query) == (0, 1, "")
            assert len(proxy.heads) == 1
            monkeypatch.setenv("OMGMJ_BASE_URL", f"https://127.0.0.1:{port}")  # By no proxy, and not its certificate's.
            code, _, said = await asyncio.to_thread(query)
            assert (code, len(proxy.heads)) == (1, 1)
            assert "certificate" in said

    asyncio.run(query_twice())
    assert proxy.heads[0].startswith(b"CONNECT mj.example:")
    assert b"Proxy-Authorization: Basic bWU6cGFzcw==" in proxy.heads[0]
    assert b"sk-token" not in proxy.heads[0]
