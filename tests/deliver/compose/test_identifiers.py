"""The IDs of deliveries: every later version must recognize those in databases and bounces."""

import hmac
from base64 import b32encode

from hypothesis import given
from hypothesis import strategies as st

from digest.deliver.compose.identifiers import make_delivery_id, make_delivery_ids
from subscribers.crypto.keys import KeyRing

KEYS = KeyRing.from_seed(b"identifiers")
PURPOSE = "edition:2026-W47"


def test_an_id_is_what_it_was_in_earlier_versions() -> None:
    assert make_delivery_id(KEYS, PURPOSE, 7) == "nplcgcy6kmolqcbukh4yv6cqiz"


@given(st.lists(st.integers(0, 2**63 - 1)))
def test_ids_that_are_made_together_are_those_that_are_made_one_by_one(people: list[int]) -> None:
    secret = KEYS.current("return-path").secret
    hashes = [hmac.digest(secret, f"delivery\0{PURPOSE}\0{person}".encode(), "sha256") for person in people]
    assert make_delivery_ids(KEYS, PURPOSE, people) == [b32encode(h).decode().lower()[:26] for h in hashes]
