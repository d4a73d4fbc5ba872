"""Names that moved: for one version they can be had where they were, and it is said where they are."""

from __future__ import annotations

import importlib

import pytest

import omgmj


@pytest.mark.parametrize(
    ("module", "name"),
    [
        *(("omgmj.protocol", name) for name in ("Answer", "Fate", "Passage", "Request")),
        *(("omgmj.transport", name) for name in ("Http", "Stream", "Transport")),
        ("omgmj.models", "Secret"),
    ],
)
def test_a_moved_name_is_the_same_and_warns(module: str, name: str) -> None:
    """What users' transports import from the old place is what `omgmj` gives, with a warning that says so."""
    with pytest.warns(DeprecationWarning, match=f"^import {name} from omgmj: {module}.{name} goes$"):
        assert getattr(importlib.import_module(module), name) is getattr(omgmj, name)


@pytest.mark.parametrize("name", ["HttpTransport"])
def test_a_moved_name_that_is_not_exported(name: str) -> None:
    """The transport over the network is where the client is."""
    with pytest.warns(DeprecationWarning, match=f"^import {name} from omgmj.client.aiohttp_adapter: "):
        assert getattr(importlib.import_module("omgmj.transport"), name)


@pytest.mark.parametrize("name", ["Adaptive", "Durations", "Exponential", "Facts", "Fixed", "Policy", "Retry"])
def test_backoff_stays(name: str) -> None:
    """Policies stay where they were, without a warning."""
    assert getattr(importlib.import_module("omgmj.backoff"), name) is getattr(omgmj, name)


@pytest.mark.parametrize("module", ["omgmj.models", "omgmj.protocol", "omgmj.transport"])
def test_other_names_are_none(module: str) -> None:
    """An old module has no other name."""
    with pytest.raises(AttributeError, match=f"module '{module}' has no attribute 'nonsense'"):
        importlib.import_module(module).nonsense  # noqa: B018 (the access is the test)
