"""Which addresses are taken for the service, and the one that is meant where none is given."""

from __future__ import annotations

import pytest

from omgmj.base_url import BASE_URL, BaseUrl, check_base_url, check_trusted_hosts, choose_base_url, split_base_url
from omgmj.errors import UsageError


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://cn2us02.opapi.win", "https://cn2us02.opapi.win"),
        ("https://cn2us02.opapi.win/", "https://cn2us02.opapi.win"),
        ("https://h:8443/a/b//", "https://h:8443/a/b"),
        ("HTTPS://H", "HTTPS://H"),
        ("https://é.example", "https://é.example"),
        ("https://[2001:db8::1]:443", "https://[2001:db8::1]:443"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.9.9.9", "http://127.9.9.9"),
        ("http://localhost", "http://localhost"),
        ("http://LOCALHOST:1", "http://LOCALHOST:1"),
        ("http://[::1]:80/", "http://[::1]:80"),
    ],
)
def test_good_base_urls(url: str, kept: str) -> None:
    """Https anywhere and http to loopback are taken, and a slash at the end is left out."""
    assert check_base_url(url) == kept


def test_http_to_trusted_hosts() -> None:
    """Http goes to a host that is trusted by its exact name, and to no other; https goes anywhere."""
    trusted = check_trusted_hosts(("new-api", "Gateway.internal", "10.0.0.5", "fd00::5"))
    for url in ("http://new-api:3000", "http://gateway.INTERNAL", "http://10.0.0.5", "http://[fd00::5]:1", "https://x"):
        assert check_base_url(url, trusted) == url
    for url in (
        "http://new-api.evil",
        "http://evil.new-api",
        "http://new-api@evil",
        "http://internal",
        "ftp://new-api",
    ):
        with pytest.raises(UsageError, match="base_url"):
            check_base_url(url, trusted)


@pytest.mark.parametrize(
    "hosts",
    ["new-api", b"new-api", 5, None, [5], [""], ["*"], ["*.internal"], ["http://a"], ["a:80"], ["a b"], ["a/"], ["-a"]],
)
def test_bad_trusted_hosts(hosts: object) -> None:
    """A string for the whole, a wildcard, a port, a scheme: a UsageError that says what is wanted."""
    with pytest.raises(UsageError, match="trusted"):
        check_trusted_hosts(hosts)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "opapi.win",
        "//opapi.win",
        "https://",
        "https:///path",
        "https:opapi.win",
        "ftp://opapi.win",
        "http://opapi.win",
        "http://localhost.opapi.win",
        "http://127.0.0.1.opapi.win",
        "http://localhost@opapi.win",
        "http://opapi.win\\@localhost",
        "http://127.0.0.1\\.opapi.win",
        "http://0.0.0.0",
        "http://10.0.0.1",
        "http://[::2]",
        "https://opapi.win?",
        "https://opapi.win/?a=b",
        "https://opapi.win#",
        "https://opapi.win/#a",
        "https://me@opapi.win",
        "https://me:mine@opapi.win",
        "https://@opapi.win",
        "https://opapi.win:port",
        "https://opapi.win:65536",
        "https://[::1",
        "https://[zz]",
        "https://op api.win",
        " https://opapi.win",
        "https://opapi.win\n",
        "https://opapi\t.win",
        "https://opapi.win/\ud800",
        "https://opapi.win/\u2028",
        "https://opapi.win\\a",
        "https://opapi\x00.win",
        b"https://opapi.win",
        None,
        5,
    ],
)
def test_bad_base_urls(url: object) -> None:
    """Anything else is a UsageError, before anything is sent."""
    with pytest.raises(UsageError, match="base_url"):
        check_base_url(url)


def test_several_addresses() -> None:
    """Several are taken in their order, each once however it is spelled; loopback over http goes beside https."""
    given = ("https://A.test/", "http://127.0.0.1:80", "https://a.test:443", "https://a.test/v1", "http://127.0.0.1")
    chosen = choose_base_url(given)
    assert chosen.urls == ("https://A.test", "http://127.0.0.1:80", "https://a.test/v1")
    assert str(chosen) == "https://A.test, http://127.0.0.1:80, https://a.test/v1"
    assert choose_base_url(["https://a.test"]) == choose_base_url("https://a.test") == BaseUrl("https://a.test")


def test_only_this_machine_is_loopback() -> None:
    """Addresses of this machine and of others are together not this machine."""
    assert choose_base_url(["http://127.0.0.1:1", "http://[::1]:1"]).is_loopback
    assert not choose_base_url(["http://127.0.0.1:1", "https://a.test"]).is_loopback


@pytest.mark.parametrize("given", [[], (), ["https://a.test", "http://b.test"], ["https://a.test", 5], 5, b"https://a"])
def test_each_of_several_is_checked(given: object) -> None:
    """None at all, and one that would not be taken alone, are a UsageError."""
    with pytest.raises(UsageError, match="base_url"):
        choose_base_url(given)


def test_several_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment names several with commas between; where it names none it is the public host."""
    assert split_base_url(" https://a.test ,,https://b.test,") == ["https://a.test", "https://b.test"]
    monkeypatch.setenv("OMGMJ_BASE_URL", "https://a.test, https://b.test")
    assert choose_base_url(None).urls == ("https://a.test", "https://b.test")
    for empty in ("", " , "):
        monkeypatch.setenv("OMGMJ_BASE_URL", empty)
        assert choose_base_url(None).urls == (BASE_URL,)
