"""The return path identifies a delivery, and can't be forged."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digest.deliver.compose import return_path
from digest.deliver.compose.identifiers import make_delivery_id
from subscribers.crypto.keys import KEY_KINDS, KeyRing, SecretKey

KEYS = KeyRing.from_seed(b"return path tests")
DELIVERY = make_delivery_id(KEYS, "edition:2026-W47", 7)
MADE = return_path.make_return_path(KEYS, DELIVERY, "bounce.example.org")


def test_it_is_read_back_in_any_case_and_with_angle_brackets() -> None:
    for address in (MADE, MADE.upper(), f"<{MADE}>", f" {MADE}\n"):
        assert return_path.extract_delivery_ids(KEYS, address) == {DELIVERY}


def test_it_fits_an_envelope_and_tells_nothing_of_the_subscriber() -> None:
    local, _, domain = MADE.partition("@")
    assert domain == "bounce.example.org"
    assert len(local) <= 64, "RFC 5321, 4.5.3.1.1"
    assert re.fullmatch(r"bounce\+[a-z2-7]{26}\.[a-z2-7]{16}", local)


def test_a_path_made_with_an_earlier_key_stays_good() -> None:
    rotated = KeyRing([*KEYS.all, SecretKey("return-path", 2, b"another secret of thirty-two byte")])
    assert return_path.extract_delivery_ids(rotated, MADE) == {DELIVERY}
    assert return_path.make_return_path(rotated, DELIVERY, "bounce.example.org") != MADE


def test_another_installation_reads_nothing() -> None:
    others = KeyRing(SecretKey(kind, 1, b"other" + kind.encode()) for kind in KEY_KINDS)
    assert return_path.extract_delivery_ids(others, MADE) == frozenset()


@given(st.integers(min_value=0, max_value=len(MADE.partition("@")[0]) - 1), st.sampled_from("abz27.+@x"))
def test_no_character_of_it_can_be_changed(place: int, put: str) -> None:
    changed = MADE[:place] + put + MADE[place + 1 :]
    assert return_path.extract_delivery_ids(KEYS, changed) == ({DELIVERY} if changed == MADE else frozenset())


@given(st.text())
def test_anything_else_is_nobody(address: str) -> None:
    assert return_path.extract_delivery_ids(KEYS, address) == frozenset()


@pytest.mark.parametrize("address", ["", "@", "bounce+@x", f"bounce+{DELIVERY}@x", "postmaster@news.example.org"])
def test_what_is_no_path_of_ours_is_nobody(address: str) -> None:
    assert return_path.extract_delivery_ids(KEYS, address) == frozenset()
