"""The base URL: where the service is, and which addresses may be taken for it."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Collection, Iterable, Sequence
from urllib.parse import urlsplit

import attrs

from omgmj.errors import UsageError
from omgmj.validation import brief, is_loopback

BASE_URL = "https://cn2us02.opapi.win"
"""The public host [S]."""


@attrs.frozen
class BaseUrl:
    """Where the service is: its address, and further ones of the same service, the ones to be preferred first."""

    url: str
    mirrors: tuple[str, ...] = ()

    @property
    def urls(self) -> tuple[str, ...]:
        """All addresses."""
        return (self.url, *self.mirrors)

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts' names, or their numbers."""
        return tuple(urlsplit(url).hostname or "" for url in self.urls)

    @property
    def is_loopback(self) -> bool:
        """Whether it is this machine itself, at each address."""
        return all(map(is_loopback, self.hosts))

    def __str__(self) -> str:
        return ", ".join(self.urls)


def choose_base_url(given: object, trusted_hosts: Collection[str] = ()) -> BaseUrl:
    """Return one address or several, checked, each once; for None `OMGMJ_BASE_URL`, else the public host."""
    if given is None:
        given = split_base_url(os.environ.get("OMGMJ_BASE_URL", "")) or BASE_URL
    several = given if isinstance(given, Sequence) and not isinstance(given, str | bytes) else [given]
    urls: dict[tuple[object, ...], str] = {}
    for one in several:
        url = check_base_url(one, trusted_hosts)
        urls.setdefault(_place(url), url)
    if not urls:
        raise UsageError("base_url must hold one address at least")
    first, *others = urls.values()
    return BaseUrl(first, tuple(others))


def split_base_url(text: str) -> list[str]:
    """Return the addresses of a text with commas between, as in the environment."""
    return [url for part in text.split(",") if (url := part.strip())]


def _place(url: str) -> tuple[object, ...]:
    """Return what two spellings of one address have in common."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}[parts.scheme], parts.path


def check_trusted_hosts(hosts: object) -> frozenset[str]:
    """Return host names in small letters; `UsageError` unless each is one, or an address, without port or wildcard."""
    if not isinstance(hosts, Iterable) or isinstance(hosts, str | bytes):
        raise UsageError(f"trusted_hosts must be a tuple of host names, such as ('new-api',), not {brief(hosts)}")
    names = list(hosts)
    for name in names:
        if not isinstance(name, str) or not (_NAME.fullmatch(name) or _is_address(name)):
            raise UsageError(f"a trusted host is one exact name, without scheme, port or wildcard, not {brief(name)}")
    return frozenset(name.lower() for name in names)


_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def check_base_url(url: object, trusted_hosts: Collection[str] = ()) -> str:
    """Return `url` without a slash at its end; `UsageError` unless it is https, or http to a host that may have it."""
    if not isinstance(url, str):
        raise UsageError(f"base_url must be a string, or a sequence of strings, not {type(url).__name__}")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise UsageError(f"base_url {brief(url)} is no URL: {error}") from None
    if "\\" in url or not url.isprintable() or any(character.isspace() for character in url):
        raise UsageError(f"base_url must hold no space, line break, backslash or control character; got {brief(url)}")
    if parts.scheme not in ("http", "https") or not host:
        raise UsageError(f"base_url must begin with https:// and name a host; got {brief(url)}")
    if parts.query or parts.fragment or parts.username is not None or "?" in url or "#" in url:
        raise UsageError("base_url must have no query, fragment or user name")
    if parts.scheme == "http" and not is_loopback(host) and host not in trusted_hosts:
        raise UsageError(
            "base_url must be https, as the token goes with each request; http only to loopback, or to a host that"
            f" trusted_hosts names: {brief(url)}"
        )
    return url.rstrip("/")
