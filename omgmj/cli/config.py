"""Where the command line's settings come from: the environment and the config file."""

from __future__ import annotations

import hashlib
import os
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from omgmj.base_url import BASE_URL, choose_base_url, split_base_url
from omgmj.cli.options import ServiceOptions
from omgmj.errors import UsageError
from omgmj.validation import check_token

if TYPE_CHECKING:
    from omgmj.session import Session

CONFIG_TYPES: dict[str, tuple[type, ...]] = {"token": (str,), "base_url": (str,), "rate": (int, float)}


@attrs.frozen
class Settings:
    """What the environment and the config file say; `origin` is where the token came from."""

    token: str = attrs.field(repr=False)
    origin: str
    base_url: str
    rate: float | None

    def session(self, shared: ServiceOptions) -> Session:
        """Make a session as the options want it, else as the config file does, else as the library."""
        from omgmj.session import Session  # noqa: PLC0415 (it takes long, and not every command needs it)

        rate = self.rate if shared.rate is None else shared.rate
        given: dict[str, Any] = {} if rate is None else {"rate": rate}
        return Session(self.token, base_url=split_base_url(self.base_url), learned=self.learned(), **given)

    def learned(self) -> Path | None:
        """Return where to keep what is learned of tasks: where `OMGMJ_LEARNED` says, else in the cache folder."""
        said = os.environ.get("OMGMJ_LEARNED", "")
        if said:
            return None if said.lower() == "off" else Path(os.path.expanduser(said))  # noqa: PTH111 (it leaves what it does not know)
        host = choose_base_url(split_base_url(self.base_url)).hosts[0]
        account = hashlib.sha256(f"{host} {self.token}".encode()).hexdigest()[:8]
        folder = _cache_folder()
        # A colon, as IPv6 has them, is no part of a file's name everywhere.
        return None if folder is None else folder / f"learned-{host.replace(':', '-')}-{account}.json"

    @property
    def about_token(self) -> str:
        """Where the token came from and where to put another, for whoever's token is refused."""
        return f"the token came from {self.origin}; {_where_to_put_it()}"


def read_settings(variable: str | None = None) -> Settings:
    """Read the settings from the environment, then from the config file.

    `variable` is where in the environment the token is, and nowhere else, if it is not at its usual places.
    `UsageError` tells where to put a token where there is none, or what is wrong with what there is.
    """
    config = _read_config()
    origin = variable or "OMGMJ_TOKEN"
    token = os.environ.get(origin, "")
    if not token and variable is None:
        token, origin = config.get("token", ""), str(_config_path())
    if not token.strip():
        where = f"put it into {variable} in the environment" if variable else _where_to_put_it()
        raise UsageError(f"there is no token: {where}")
    try:
        token = check_token(token)
    except UsageError:
        raise UsageError(f"the token from {origin} must be one run of visible ASCII characters") from None
    base_url = os.environ.get("OMGMJ_BASE_URL") or config.get("base_url") or BASE_URL
    return Settings(token, origin, base_url, config.get("rate"))


def _config_path() -> Path:
    base = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    # A relative one is to be ignored, by the rules of those who named the variable.
    return (base if base.is_absolute() else Path("~/.config")) / "omgmj" / "config.toml"


def _cache_folder() -> Path | None:
    """Return our part of the user's cache folder, which may be missing; None where nothing can be kept there."""
    usual = {"darwin": "~/Library/Caches", "win32": "~/AppData/Local"}.get(sys.platform, "~/.cache")
    base = Path(os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME", ""))
    try:
        folder = (base if base.is_absolute() else Path(usual).expanduser()) / "omgmj"
        there = next(place for place in (folder, *folder.parents) if place.exists())
    except (OSError, RuntimeError):  # The last: nobody knows where home is.
        return None
    return folder if there.is_dir() and os.access(there, os.W_OK) else None


def _where_to_put_it() -> str:
    return f'put it into OMGMJ_TOKEN in the environment, or as token = "…" into {_config_path()}'


def _read_config() -> dict[str, Any]:
    """Read the config file, empty if there is none; `UsageError` names the file and the fault."""
    path = _config_path()
    try:
        config = tomllib.loads(path.expanduser().read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not TOML: {error}") from None
    except (FileNotFoundError, NotADirectoryError, RuntimeError):  # The last: nobody knows where home is.
        return {}
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    for name, value in config.items():
        kinds = CONFIG_TYPES.get(name)
        if kinds is None:
            raise UsageError(f"{path} has the unknown key {name!a}; known are {', '.join(CONFIG_TYPES)}")
        if type(value) not in kinds:
            raise UsageError(f"{path}: {name} must be a {'string' if str in kinds else 'number'}")
    return config
