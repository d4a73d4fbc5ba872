"""The make-believe pictures: real PNGs, a grid of four that can be cut, and single ones that are its quarters."""

from __future__ import annotations

import uuid

import pytest

from omgmj.testing.service.pictures import LONGEST, draw
from tests.testing.png import decode, halved, quarters

ASPECTS = [(1, 1), (16, 9), (2, 3), (7, 4), (9999, 1)]


def picture(number: int, quarter: int | None = None, aspect: tuple[int, int] = (1, 1), longest: int = LONGEST) -> bytes:
    return draw(uuid.UUID(int=number), quarter, aspect, longest)


@pytest.mark.parametrize("aspect", ASPECTS)
def test_a_single_picture_is_a_quarter_of_its_grid(aspect: tuple[int, int]) -> None:
    """A grid is cut into four different pictures without a rest; each is the single one, in half its size."""
    whole = decode(picture(1, aspect=aspect))
    cut = quarters(whole)
    assert cut == [halved(decode(picture(1, number, aspect))) for number in (1, 2, 3, 4)]
    assert all(one != other for one in cut for other in cut if one is not other)
    width, height = len(whole[0]) // 3, len(whole)
    assert max(width, height) == LONGEST
    if max(aspect) < 99:
        assert width / height == pytest.approx(aspect[0] / aspect[1], rel=0.02)


def test_the_four_of_a_grid_can_be_told_apart_at_a_glance() -> None:
    """The mean colours of the quarters are far apart, in any grid."""
    for number in range(50):
        means = []
        for pixels in quarters(decode(picture(number))):
            flat = b"".join(pixels)
            means.append([sum(flat[part::3]) / (len(flat) / 3) for part in range(3)])
        for place, one in enumerate(means):
            for other in means[:place]:
                assert max(abs(a - b) for a, b in zip(one, other, strict=True)) > 30


def test_pictures_come_from_their_ids_alone() -> None:
    """The same ID gives the same bytes, another one other bytes, and a preview is smaller."""
    first = picture(1)
    draw.cache_clear()
    assert picture(1) == first != picture(2)
    assert len(decode(picture(1, longest=64))) == 64


def test_few_pictures_are_kept() -> None:
    """Drawing many leaves some dozen in memory, however many tasks there are."""
    for number in range(100):
        picture(number, longest=16)
    assert draw.cache_info().currsize <= 64
