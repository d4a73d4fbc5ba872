"""The environment's proxies: which of them a URL goes by.

aiohttp's own reading of the environment also reads netrc, whose entries clash with the token.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from omgmj.errors import UsageError
from omgmj.validation import is_loopback


class Proxies:
    """Proxies by scheme, as `HTTPS_PROXY` and `ALL_PROXY` name them, and `NO_PROXY` for the hosts that go by none.

    Plain http goes by none either: a proxy would read the token. Nor does what stays on this machine.
    """

    def __init__(self, by_scheme: Mapping[str, str]) -> None:
        self._url = by_scheme.get("https") or by_scheme.get("all")

    @classmethod
    def of_environment(cls) -> Proxies:
        """Read them as they are now."""
        from urllib.request import getproxies  # noqa: PLC0415 (it takes long, and not every session needs it)

        return cls(getproxies())

    def by(self, url: str) -> str | None:
        """Return the URL of the proxy for `url`, None where it goes by none; `UsageError` where it cannot be used."""
        parts = urlsplit(url)
        if self._url is None or parts.scheme != "https" or is_loopback(parts.hostname or ""):
            return None
        from urllib.request import proxy_bypass  # noqa: PLC0415 (as above)

        if proxy_bypass(parts.netloc):
            return None
        proxy = self._url if "://" in self._url else f"http://{self._url}"
        try:
            scheme, is_usable = urlsplit(proxy).scheme, bool(urlsplit(proxy).hostname)
        except ValueError:
            scheme, is_usable = "", False
        # It may hold a password, so it is not shown.
        if scheme.startswith("socks"):
            raise UsageError(
                "the environment names a socks proxy, which aiohttp cannot use: set HTTPS_PROXY to an http:// one (most"
                " such programs offer both), pass http=… with a connector of aiohttp-socks, or environment_proxy=False"
            )
        if not is_usable or scheme not in ("http", "https"):
            raise UsageError("HTTPS_PROXY (or ALL_PROXY) must be the http:// or https:// URL of a proxy")
        return proxy


NO_PROXIES = Proxies({})
