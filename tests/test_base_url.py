"""Which addresses are taken for the service, and the one that is meant where none is given."""

from __future__ import annotations

import pytest

from omgmj.base_url import check_base_url
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
