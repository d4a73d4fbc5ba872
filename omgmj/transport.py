"""For one version: what transports of users import from here is in `omgmj` now."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omgmj.client.transport import Http, HttpTransport, Stream, Transport
else:

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module 'omgmj.transport' has no attribute {name!r}")
        import warnings  # noqa: PLC0415 (only where it is needed)

        from omgmj.client import transport  # noqa: PLC0415 (imports aiohttp)

        home = "omgmj" if name != "HttpTransport" else "omgmj.client.transport"
        warnings.warn(f"import {name} from {home}: omgmj.transport.{name} goes", DeprecationWarning, stacklevel=2)
        return getattr(transport, name)


__all__ = ["Http", "HttpTransport", "Stream", "Transport"]
