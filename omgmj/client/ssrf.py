"""SSRF guard: downloads go to the public internet over https, and nowhere inside.

URLs of images come from the service, and redirects from whoever answers: neither may lead to the machine or the
network that this runs in. The transfer itself is `aiohttp_adapter`'s.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket

from omgmj.errors import UsageError

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# Ways to write an IPv4 address as one of IPv6, which a gateway may take it for: the inner one counts.
_EMBEDDING = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("::/96"))
# What `is_global` takes for public, at least in some versions of Python, and is not.
_INTERNAL = tuple(map(ipaddress.ip_network, ("64:ff9b:1::/48", "fec0::/10", "192.0.0.0/24", "192.88.99.0/24")))


class ForbiddenTarget(UsageError):
    """A URL refused to downloads."""


async def check_target(scheme: str, host: str | None, *, loopback: bool = False) -> None:
    """Raise `ForbiddenTarget` unless it is https, and every address of the host is a public one.

    `loopback` allows addresses of this machine, and http to them. A name that is not found here passes: it is not
    found a moment later either, or a proxy is going to look it up. A name that leads elsewhere a moment later is not
    noticed; a machine inside has no certificate for it.
    """
    if scheme not in ("https", "http") or not host or (scheme == "http" and not loopback):
        raise ForbiddenTarget(f"only https is fetched, not {scheme or 'a URL without a scheme'}")
    addresses = await _addresses(host)
    if loopback and addresses and all(address.is_loopback for address in addresses):
        return
    if scheme == "http":
        raise ForbiddenTarget(f"only https is fetched from {host}; http is for this machine alone")
    for address in addresses:
        if not _is_public(address):
            raise ForbiddenTarget(f"{host} is not fetched from: {address} is no public address")


def _is_public(address: _Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if any(address in network for network in _EMBEDDING):
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return _is_public(inner)
    return address.is_global and not address.is_multicast and not any(address in network for network in _INTERNAL)


async def _addresses(host: str) -> list[_Address]:
    try:
        return [ipaddress.ip_address(host)]
    except ValueError:
        pass
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [ipaddress.ip_address(where[0]) for *_, where in found]
