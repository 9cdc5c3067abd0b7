"""The marks that stand for slots while a page is rendered from templates as a string.

Each mark contains a random nonce, which is used for one rendering and never stored. No text in the page
can contain the nonce, however the text is escaped, so each mark in the output was written by a template.
"""

import re
import secrets
from collections.abc import Iterable

from digest.edition.content.slotted_text import Slot, SlottedText
from digest.edition.rendering.sanitizer import RenderingError

_NONCE_DIGITS = 36  # 120 bits; only digits, so that case changes don't affect marks
_CUT_DIGITS = 12  # enough to recognize the rest of a mark that a template truncated


class SlotMarks:
    """The marks that stand for slots in one rendering."""

    def __init__(self) -> None:
        self._nonce = f"{secrets.randbelow(10**_NONCE_DIGITS):0{_NONCE_DIGITS}}"
        self._slots: list[Slot] = []

    def mark(self, slot: Slot) -> str:
        """Return the mark for a slot. It consists of digits, which are never escaped."""
        if slot not in self._slots:
            self._slots.append(slot)
        return f"{self._nonce}{self._slots.index(slot):02}"

    def write(self, slotted: SlottedText) -> str:
        """Return a text with each slot replaced by its mark."""
        marks = {slot: self.mark(slot) for _, slot in slotted.slots}
        return slotted.fill(marks)

    def split(self, rendered: str) -> SlottedText:
        """Split a rendered text at its marks.

        Raises:
            RenderingError: a template truncated a mark.
        """
        slotted = SlottedText(rendered)
        if self._nonce in rendered:
            pieces = re.split(rf"{self._nonce}(\d\d)", rendered)
            slots = [self._slots[int(number)] for number in pieces[1::2]]
            parts: list[str | Slot] = [*pieces]
            parts[1::2] = slots
            slotted = SlottedText.from_parts(parts)
        start, end = self._nonce[:_CUT_DIGITS], self._nonce[-_CUT_DIGITS:]
        if start in slotted.text or end in slotted.text:
            raise RenderingError(
                "A template alters a placeholder. Use leave, preferences, my_data, and asked without filters."
            )
        return slotted

    def occurs_in(self, texts: Iterable[str]) -> bool:
        """Return True if any of the texts contains the marks' nonce."""
        return any(self._nonce in text for text in texts)
