import string
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from subscribers.crypto import link_tokens
from subscribers.crypto.keys import KeyRing, SecretKey
from subscribers.crypto.link_tokens import LinkPurpose

KEYS = KeyRing.from_seed(b"token tests")
PURPOSES: tuple[LinkPurpose, ...] = get_args(LinkPurpose)
NUMBERS, GENERATIONS = st.integers(1, 2**32 - 1), st.integers(0, 255)
ADA = "ada@county.example"
ALPHABET = string.ascii_letters + string.digits + "-_"


@given(NUMBERS, GENERATIONS, st.sampled_from(PURPOSES))
def test_a_token_names_its_person_for_its_purpose_and_no_other(
    number: int, generation: int, purpose: LinkPurpose
) -> None:
    token = link_tokens.make_link_token(KEYS, number, purpose, generation, address=ADA)
    assert len(token) == 22
    assert set(token) <= set(ALPHABET)
    assert link_tokens.read_link_token(KEYS, token, purpose) == (number, generation)
    for other in PURPOSES:
        if other != purpose:
            assert link_tokens.read_link_token(KEYS, token, other) is None


@given(NUMBERS, st.integers(0, 21), st.sampled_from(ALPHABET))
def test_a_token_with_any_character_changed_is_none(number: int, place: int, character: str) -> None:
    token = link_tokens.make_link_token(KEYS, number, "leave", address=ADA)
    changed = token[:place] + character + token[place + 1 :]
    is_read = link_tokens.read_link_token(KEYS, changed, "leave") == (number, 0)
    assert (is_read and link_tokens.was_made_for_address(KEYS, changed, "leave", ADA)) == (changed == token)
    assert not is_read or changed[:16] == token[:16], "the last characters say to whom it was emailed"


@given(NUMBERS, st.integers(0, 21))
def test_a_truncated_or_lengthened_token_is_none(number: int, length: int) -> None:
    token = link_tokens.make_link_token(KEYS, number, "leave", address=ADA)
    for wrong in (token[:length], token + token[: length + 1], token + "==", " " + token):
        assert link_tokens.read_link_token(KEYS, wrong, "leave") is None


@given(st.text(max_size=30))
def test_any_text_at_all_is_simply_no_token(text: str) -> None:
    assert link_tokens.read_link_token(KEYS, text, "leave") is None


@given(NUMBERS)
def test_a_token_made_with_other_keys_is_none(number: int) -> None:
    assert (
        link_tokens.read_link_token(
            KEYS, link_tokens.make_link_token(KeyRing.from_seed(b"others"), number, "leave", address=ADA), "leave"
        )
        is None
    )


def test_last_years_token_works_after_the_key_was_succeeded() -> None:
    old = link_tokens.make_link_token(KEYS, 12, "leave", address=ADA)
    both = KeyRing([*KEYS.all, SecretKey("token", 2, b"y" * 32)])
    assert link_tokens.make_link_token(both, 12, "leave", address=ADA) != old
    assert (
        link_tokens.read_link_token(both, old, "leave")
        == link_tokens.read_link_token(both, link_tokens.make_link_token(both, 12, "leave", address=ADA), "leave")
        == (12, 0)
    )


@given(NUMBERS, st.sampled_from(PURPOSES), st.sampled_from(["bo@county.example", "ada@okapi.example", ""]))
def test_a_token_is_for_emails_to_one_address(number: int, purpose: LinkPurpose, other: str) -> None:
    token = link_tokens.make_link_token(KEYS, number, purpose, address=ADA)
    assert link_tokens.was_made_for_address(KEYS, token, purpose, ADA)
    assert link_tokens.was_made_for_address(KEYS, token, purpose, ADA.upper()), (
        "the address as its owner may type it next time"
    )
    assert not link_tokens.was_made_for_address(KEYS, token, purpose, other)
    assert not link_tokens.was_made_for_address(KEYS, token[:-2] + "AA", purpose, ADA)


@given(GENERATIONS)
def test_no_renewal_leads_back_to_the_links_of_the_early_mails_or_stays_where_it_was(generation: int) -> None:
    following = link_tokens.next_generation(generation)
    assert following not in {0, generation}
    assert len(link_tokens.make_link_token(KEYS, 12, "preferences", following, address=ADA)) == 22
