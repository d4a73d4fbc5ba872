"""SSRF guard: downloads go to the public internet over https, and nowhere inside.

URLs of images come from the service, and redirects from whoever answers: neither may lead to the machine or the
network that this runs in. A URL is checked before it is gone to, and each address that its name leads to when it is
connected to. The transfer itself is `aiohttp_adapter`'s.
"""

from __future__ import annotations

import ipaddress

from omgmj.errors import UsageError
from omgmj.validation import is_loopback

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# Ways to write an IPv4 address as one of IPv6, which a gateway may take it for: the inner one counts.
_EMBEDDING = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("::/96"))
# What `is_global` takes for public, at least in some versions of Python, and is not.
_INTERNAL = tuple(
    map(
        ipaddress.ip_network,
        (
            "64:ff9b:1::/48",
            "fec0::/10",
            "192.0.0.0/24",
            "192.88.99.0/24",
            "3fff::/20",
            "5f00::/16",
            "::ffff:0:0/96",
            "::ffff:0:0:0/96",
        ),
    )
)
_FAKE_IP = ipaddress.ip_network("198.18.0.0/15")
"""What a proxy that takes all traffic (Clash, sing-box, Surge) has every name lead to, to find the name again by it."""


class ForbiddenTarget(UsageError):
    """A URL refused to downloads."""


def check_target(scheme: str, host: str | None, *, loopback: bool = False) -> bool:
    """Raise `ForbiddenTarget` unless it is https, and the host a name or a public address.

    Return whether it is a name: where that leads is for `check_address` to say. `loopback` allows this machine, and
    http to it.
    """
    allowed = ("https", "http") if loopback and host and is_loopback(host) else ("https",)
    if scheme not in allowed or not host:
        raise ForbiddenTarget(f"only https is fetched, not {scheme or 'a URL without a scheme'}")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return True
    _check(host, address, loopback=loopback)
    return False


def check_address(host: str, address: str, *, loopback: bool = False) -> None:
    """Raise `ForbiddenTarget` unless an address that a name leads to is public; `loopback` allows this machine's."""
    found = ipaddress.ip_address(address)
    if found not in _FAKE_IP:
        _check(host, found, loopback=loopback)


def _check(host: str, address: _Address, *, loopback: bool) -> None:
    if not _is_public(address) and not (loopback and address.is_loopback):
        raise ForbiddenTarget(f"{host} is not fetched from: {address} is no public address")


def _is_public(address: _Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.sixtofour
        if any(address in network for network in _EMBEDDING):
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return _is_public(inner)
    return address.is_global and not address.is_multicast and not any(address in network for network in _INTERNAL)
