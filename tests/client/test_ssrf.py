"""Where downloads may go, and where not."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from omgmj.client.ssrf import ForbiddenTarget, check_target


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Names that are looked up in here, not by the system."""
    known: dict[str, list[str]] = {}

    async def getaddrinfo(self: object, host: str, port: object, **_: object) -> list[Any]:
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in known[host]]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return known


PRIVATE = [
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.0.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",  # noqa: S104 (to be refused)
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fd00::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::10.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::10.0.0.1",
    "2002:a00:1::",
    "fec0::1",
    "192.0.0.8",
    "192.88.99.1",
]


@pytest.mark.parametrize("address", PRIVATE)
async def test_no_address_inside_is_gone_to(address: str, names: dict[str, list[str]]) -> None:
    """No private, loopback, link-local or shared address is gone to, by number or by name, beside public ones too."""
    names.update(inside=[address], both=["93.184.215.14", address])
    for host in (address, "inside", "both"):
        with pytest.raises(ForbiddenTarget, match="no public address"):
            await check_target("https", host)


async def test_public_addresses_are_gone_to_over_https_only(names: dict[str, list[str]]) -> None:
    """Public addresses pass over https, and over nothing else, with loopback allowed too."""
    names["cdn"] = ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"]
    for host in ("cdn", "93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::93.184.215.14"):
        for loopback in (False, True):
            await check_target("https", host, loopback=loopback)
            for scheme in ("http", "ftp", "file", "data", ""):
                with pytest.raises(ForbiddenTarget, match="https"):
                    await check_target(scheme, host, loopback=loopback)


async def test_loopback_is_gone_to_where_it_is_allowed(names: dict[str, list[str]]) -> None:
    """With loopback allowed this machine is gone to, over http too; the network inside is not."""
    names.update(me=["127.0.0.1", "::1"], mixed=["127.0.0.1", "10.0.0.1"])
    for scheme in ("http", "https"):
        for host in ("127.0.0.1", "127.8.8.8", "::1", "me"):
            await check_target(scheme, host, loopback=True)
        for host in ("10.0.0.1", "169.254.169.254", "mixed"):
            with pytest.raises(ForbiddenTarget):
                await check_target(scheme, host, loopback=True)
    with pytest.raises(ForbiddenTarget):
        await check_target("http", "127.0.0.1")


async def test_a_name_that_is_not_known_here_passes_over_https(names: dict[str, list[str]]) -> None:
    """A name that is not found is left to the transfer, which fails or has a proxy; without a host there is none."""
    assert not names
    await check_target("https", "proxied.test")
    with pytest.raises(ForbiddenTarget):
        await check_target("http", "proxied.test", loopback=True)
    for nowhere in (None, ""):
        with pytest.raises(ForbiddenTarget):
            await check_target("https", nowhere)


@pytest.mark.real_time
async def test_odd_spellings_of_loopback_are_seen_through() -> None:
    """Spellings that the system reads as this machine's address are refused as that."""
    for host in ("localhost", "2130706433", "0x7f000001", "127.1"):
        with pytest.raises(ForbiddenTarget, match="no public address"):
            await check_target("https", host)
