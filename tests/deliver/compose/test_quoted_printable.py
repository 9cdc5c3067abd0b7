import quopri
import re

from hypothesis import given
from hypothesis import strategies as st

from digest.deliver.compose.message import MAX_LINE_LENGTH, encode_quoted_printable, encode_slot_value
from digest.edition.content.slotted_text import LEAVE_SLOT, PREFERENCES_SLOT, SIGNUP_SLOT, Slot, SlottedText

ODD_PARTS: tuple[str | Slot, ...] = (
    *(LEAVE_SLOT, PREFERENCES_SLOT, SIGNUP_SLOT),
    *("\n", "\r\n", " ", "\t", ".", "=", "From ", "a" * 70, "\u00e9", "\u6f22", "\U0001f600", "~leave-"),
)
PARTS: st.SearchStrategy[str | Slot] = st.sampled_from(ODD_PARTS) | st.text(max_size=30)
PIECES = st.lists(PARTS, max_size=40).map(SlottedText.from_parts)
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="~\r"), min_size=1, max_size=300)


def _unix(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _unix_slotted(text: SlottedText) -> SlottedText:
    return SlottedText.from_parts(part if isinstance(part, Slot) else _unix(part) for part in text.parts())


def _encoded(text: SlottedText, value: bytes = b"") -> bytes:
    return b"".join(value if isinstance(part, Slot) else part for part in encode_quoted_printable(text))


def _decoded(body: bytes) -> str:
    return quopri.decodestring(body).decode().replace("\r\n", "\n")


@given(PIECES)
def test_decoding_gives_the_text_and_its_slots_back(text: SlottedText) -> None:
    assert _decoded(_encoded(SlottedText(text.text))) == _unix(text.text)
    parts = encode_quoted_printable(text)
    assert [part for part in parts if isinstance(part, Slot)] == [slot for _, slot in text.slots]


@given(st.lists(PIECES, max_size=5))
def test_pieces_that_were_encoded_apart_join_to_the_whole(texts: list[SlottedText]) -> None:
    apart = _decoded(b"".join(_encoded(t, encode_slot_value("value")) for t in texts))
    assert apart == "".join(
        t.fill(dict.fromkeys((LEAVE_SLOT, PREFERENCES_SLOT, SIGNUP_SLOT), "value")) for t in map(_unix_slotted, texts)
    )


@given(PIECES, VALUES)
def test_lines_keep_their_limit_whatever_the_placeholders_hold(text: SlottedText, value: str) -> None:
    body = _encoded(text, encode_slot_value(value))
    assert all(len(line) <= MAX_LINE_LENGTH for line in body.split(b"\r\n"))
    assert _decoded(body) == _unix_slotted(text).fill(dict.fromkeys((LEAVE_SLOT, PREFERENCES_SLOT, SIGNUP_SLOT), value))


@given(PIECES)
def test_encoded_lines_are_safe_on_every_path(text: SlottedText) -> None:
    _check_paths(_encoded(text, encode_slot_value("value")))


@given(VALUES)
def test_so_are_the_lines_of_a_value(value: str) -> None:
    _check_paths(encode_slot_value(value) + b"=\r\n")


def _check_paths(body: bytes) -> None:
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)", body)
    assert body.isascii()
    for line in body.split(b"\r\n"):
        assert not line.startswith((b".", b"From "))
        assert not line.endswith((b" ", b"\t"))
        assert b"=_" not in line
    assert not body or body.endswith(b"\r\n")


def test_a_placeholder_has_a_line_of_its_own() -> None:
    text = SlottedText.from_parts(["Leave: https://news.example.org/u/", LEAVE_SLOT, " or stay\n"])
    assert encode_quoted_printable(text) == [
        b"Leave: https://news.example.org/u/=\r\n",
        LEAVE_SLOT,
        b"=\r\n or stay\r\n",
    ]
