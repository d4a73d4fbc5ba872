"""Where downloads may go, and where not."""

from __future__ import annotations

import pytest

from omgmj.client.ssrf import ForbiddenTarget, check_address, check_target

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
    "3fff::1",
    "5f00::1",
    "::ffff:93.184.215.14",
    "::ffff:5db8:d70e",
    "0:0:0:0:0:ffff:5db8:d70e",
    "::ffff:0:93.184.215.14",
]


PUBLIC = ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::93.184.215.14"]


@pytest.mark.parametrize("address", PRIVATE)
def test_no_address_inside_is_gone_to(address: str) -> None:
    """No private, loopback, link-local or shared address is gone to, by number or by name."""
    with pytest.raises(ForbiddenTarget, match="no public address"):
        check_target("https", address)
    with pytest.raises(ForbiddenTarget, match=r"inside is not fetched from: .* no public address"):
        check_address("inside", address)


@pytest.mark.parametrize("loopback", [False, True])
def test_public_addresses_are_gone_to_over_https_only(loopback: bool) -> None:
    """Public addresses pass over https, and over nothing else, with loopback allowed too."""
    for address in PUBLIC:
        assert not check_target("https", address, loopback=loopback)
        check_address("cdn", address, loopback=loopback)
    for host in ("cdn", *PUBLIC):
        for scheme in ("http", "ftp", "file", "data", ""):
            with pytest.raises(ForbiddenTarget, match="https"):
                check_target(scheme, host, loopback=loopback)
    for nowhere in (None, ""):
        with pytest.raises(ForbiddenTarget):
            check_target("https", nowhere, loopback=loopback)


def test_loopback_is_gone_to_where_it_is_allowed() -> None:
    """With loopback allowed this machine is gone to, over http too; the network inside is not."""
    for scheme in ("http", "https"):
        for host in ("127.0.0.1", "127.8.8.8", "::1"):
            assert not check_target(scheme, host, loopback=True)
            check_address("localhost", host, loopback=True)
        assert check_target(scheme, "localhost", loopback=True)
        for host in ("10.0.0.1", "169.254.169.254"):
            with pytest.raises(ForbiddenTarget):
                check_target(scheme, host, loopback=True)
            with pytest.raises(ForbiddenTarget):
                check_address("localhost", host, loopback=True)
    with pytest.raises(ForbiddenTarget):
        check_target("http", "127.0.0.1")


def test_the_addresses_that_a_proxy_of_all_traffic_makes_up() -> None:
    """Behind Clash or sing-box each name leads to 198.18.0.0/15: a name may, an address is refused."""
    for address in ("198.18.0.5", "198.19.255.255"):
        check_address("cdn", address)
        with pytest.raises(ForbiddenTarget):
            check_target("https", address)
    with pytest.raises(ForbiddenTarget):
        check_address("cdn", "::ffff:198.18.0.5")


def test_a_name_is_to_be_looked_up() -> None:
    """Of a name nothing is known yet; odd spellings of an address are names."""
    for host in ("cdn.test", "127.1", "2130706433", "0x7f000001"):
        assert check_target("https", host)
