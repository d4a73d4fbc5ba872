"""For one version: what transports of users import from here is in `omgmj` now."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omgmj.client.aiohttp_adapter import Http, HttpTransport
    from omgmj.client.transport import Stream, Transport
else:

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module 'omgmj.transport' has no attribute {name!r}")
        import warnings  # noqa: PLC0415 (only where it is needed)
        from importlib import import_module  # noqa: PLC0415 (as above)

        home = "omgmj" if name != "HttpTransport" else "omgmj.client.aiohttp_adapter"
        warnings.warn(f"import {name} from {home}: omgmj.transport.{name} goes", DeprecationWarning, stacklevel=2)
        return getattr(import_module(home), name)


__all__ = ["Http", "HttpTransport", "Stream", "Transport"]
