"""Where downloads may go: to the public internet over https, and nowhere inside.

URLs of images come from the service, and redirects from whoever answers: neither may lead to the machine or the
network that this runs in. The transfer itself is `transport`'s.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket

from omgmj.errors import UsageError

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class ForbiddenTarget(UsageError):
    """A URL that downloads do not go to."""


async def check_target(scheme: str, host: str | None, *, loopback: bool = False) -> None:
    """Raise `ForbiddenTarget` unless it is https, and every address of the host is a public one.

    `loopback` allows addresses of this machine, and http to them. A name that is not found here passes: it is not
    found a moment later either, or a proxy is going to look it up.
    """
    if scheme not in ("https", "http") or not host or (scheme == "http" and not loopback):
        raise ForbiddenTarget(f"only https is fetched, not {scheme or 'a URL without a scheme'}")
    addresses = await _addresses(host)
    if loopback and addresses and all(address.is_loopback for address in addresses):
        return
    if scheme == "http":
        raise ForbiddenTarget(f"only https is fetched from {host}; http is for this machine alone")
    for address in addresses:
        if not address.is_global or address.is_multicast:
            raise ForbiddenTarget(f"{host} is not fetched from: {address} is no public address")


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
