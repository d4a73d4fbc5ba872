"""Which addresses are taken for the service, and the one that is meant where none is given."""

from __future__ import annotations

import pytest

from omgmj.base_url import check_base_url, check_trusted_hosts
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
