"""Calls of the service: what a page of the list may be asked for as."""

from __future__ import annotations

import pytest

from omgmj.errors import UsageError
from omgmj.protocol.messages import PAGE_LEAST, PAGE_MOST, check_size, page_request


@pytest.mark.parametrize("value", [4, 21, 0, -5, True, 12.0, "12", None, pytest.param(10**5000, id="long")])
def test_what_is_no_size(value: object) -> None:
    """A page has 5 to 20 records, in a whole number; anything else is refused, and shown in brief."""
    with pytest.raises(UsageError, match="from 5 to 20, not ") as caught:
        check_size(value)
    assert len(str(caught.value)) < 100
    assert [check_size(size) for size in (5, 20)] == [PAGE_LEAST, PAGE_MOST]


def test_a_page_is_asked_for_by_number_and_size() -> None:
    """The call names both in its path, costs nothing, and may be sent again."""
    request = page_request(3, PAGE_MOST)
    assert request.path.endswith("?page=3&pageSize=20")
    assert request.idempotent
