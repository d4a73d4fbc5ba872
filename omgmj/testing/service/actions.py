"""What a finished make-believe task offers, and what comes of it: custom IDs, and the kind of task each makes.

Pure, with the wire's words in a copy of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from uuid import UUID

KINDS = ("IMAGINE", "UPSCALE", "VARIATION", "ZOOM", "PAN", "BLEND", "DESCRIBE")

# What a task of each kind offers at its end: (custom ID, emoji, label). A kind that is not named offers the grid.
_GRID = (
    *((f"MJ::JOB::upsample::{n}::{{}}", "", f"U{n}") for n in range(1, 5)),
    ("MJ::JOB::reroll::0::{}::SOLO", "🔄", ""),
    *((f"MJ::JOB::variation::{n}::{{}}", "", f"V{n}") for n in range(1, 5)),
)
_OFFERS: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "UPSCALE": (
        ("MJ::JOB::high_variation::1::{}::SOLO", "🪄", "Vary (Strong)"),
        ("MJ::JOB::low_variation::1::{}::SOLO", "🪄", "Vary (Subtle)"),
        ("MJ::Inpaint::1::{}::SOLO", "🖌️", "Vary (Region)"),
        ("MJ::Outpaint::50::1::{}::SOLO", "🔍", "Zoom Out 2x"),
        ("MJ::Outpaint::75::1::{}::SOLO", "🔍", "Zoom Out 1.5x"),
        ("MJ::JOB::left_pan_variation::1::{}::SOLO", "⬅️", ""),
        ("MJ::JOB::right_pan_variation::1::{}::SOLO", "➡️", ""),
        ("MJ::JOB::up_pan_variation::1::{}::SOLO", "⬆️", ""),
        ("MJ::JOB::down_pan_variation::1::{}::SOLO", "⬇️", ""),
    ),
    "DESCRIBE": (),
}
# What stands in the row of zooms, before the pans, where the image is not square.
_PANS = 5
_MAKE_SQUARE = ("MJ::Outpaint::100::1::{}::SOLO", "↔️", "Make Square")
# The kind of task that an action makes, by the first of these words in its custom ID; any other makes a variation,
# a reroll too: the contract has no word of its own for it.
_MAKES = (("upsample", "UPSCALE"), ("Outpaint", "ZOOM"), ("_pan_", "PAN"))


def offered(kind: str, image: UUID, aspect: tuple[int, int]) -> list[dict[str, str]] | None:
    """Return the `actions` of a finished task's record, whose image has this aspect; None where there are none."""
    offers = _OFFERS.get(kind, _GRID)
    if kind == "UPSCALE" and aspect[0] != aspect[1]:
        offers = (*offers[:_PANS], _MAKE_SQUARE, *offers[_PANS:])
    return [
        {"customId": custom_id.format(image), "emoji": emoji, "label": label} for custom_id, emoji, label in offers
    ] or None


def made_by(custom_id: str) -> str:
    """Return the kind of task that the action makes."""
    return next((kind for word, kind in _MAKES if word in custom_id), "VARIATION")


def quarter_of(custom_id: str) -> int:
    """Return which picture of a grid an action is about, from 1; 1 where it does not say."""
    number = re.search(r"::upsample::(\d{1,9})::", custom_id)
    return int(number[1]) if number else 1


def makes_square(custom_id: str) -> bool:
    """Whether the action makes a square image of one that is not."""
    return "::Outpaint::100::" in custom_id
