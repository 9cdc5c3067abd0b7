"""Text with slots, which are filled in for each subscriber during sending.

A slot isn't written in the text. It's an offset stored with it, so no text can be taken for a slot.
Only templates create slots, by writing marks with a nonce that's never disclosed
(`rendering.slot_marks`).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any


@dataclass(frozen=True, slots=True)
class Slot:
    """A kind of value that fills slots, such as a subscriber's token."""

    name: str


LEAVE_SLOT = Slot("leave-token")  # the subscriber's one-click token, which has 22 characters, after `/u/`
PREFERENCES_SLOT = Slot("preferences-token")  # the subscriber's token after `/preferences/`
SIGNUP_SLOT = Slot("asked-for-it")  # the subscriber's sign-up time and source: "March 4, 2026, at hls.today"

SlotPositions = tuple[tuple[int, Slot], ...]


@dataclass(frozen=True, slots=True)
class SlottedText:
    """A text, and its slots with their offsets in characters, in ascending order."""

    text: str
    slots: SlotPositions = ()

    @classmethod
    def from_parts(cls, parts: Iterable[str | Slot]) -> "SlottedText":
        """Return a text made of literal parts and slots, in order."""
        text, slots = "", list[tuple[int, Slot]]()
        for part in parts:
            if isinstance(part, Slot):
                slots.append((len(text), part))
            else:
                text += part
        return cls(text, tuple(slots))

    def parts(self) -> Iterator[str | Slot]:
        """Yield the nonempty literal parts and the slots, in order."""
        start = 0
        for offset, slot in self.slots:
            if offset > start:
                yield self.text[start:offset]
            yield slot
            start = offset
        if start < len(self.text):
            yield self.text[start:]

    def fill(self, values: Mapping[Slot, str]) -> str:
        """Return the text with each slot filled with its value."""
        filled = (values[part] if isinstance(part, Slot) else part for part in self.parts())
        return "".join(filled)

    def fill_some(self, values: Mapping[Slot, str]) -> "SlottedText":
        """Return the text with the slots in `values` filled and the other slots kept."""

        def fill_part(part: str | Slot) -> str | Slot:
            return values.get(part, part) if isinstance(part, Slot) else part

        return SlottedText.from_parts(map(fill_part, self.parts()))


def join_slotted_texts(texts: Iterable[SlottedText]) -> SlottedText:
    """Join texts into one, keeping their slots."""
    return SlottedText.from_parts(chain.from_iterable(text.parts() for text in texts))


def pack_slots(slots: SlotPositions) -> list[list[Any]]:
    """Return the offset and name of each slot, the form in which slots are stored and hashed."""
    return [[offset, slot.name] for offset, slot in slots]


def unpack_slots(packed: Iterable[tuple[int, str]]) -> SlotPositions:
    """Return slots, with their offsets, from the form that `pack_slots` returns."""
    return tuple((offset, Slot(name)) for offset, name in packed)
