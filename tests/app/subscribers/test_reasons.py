"""Reasons that people type are kept in logs and chains, so they can't contain an address in any form."""

import pytest

from digest.installation.action_reasons import ReasonError, read_reason

HIDDEN = [
    "a@example.org",
    "a\uff20example.org",
    "a\ufe6bexample.org",
    "a%40example.org",
    "a%2540example.org",
    "a&#64;example.org",
]


@pytest.mark.parametrize("address", [*HIDDEN, "a&commat;example.org", "a&amp;#x40;example.org"])
def test_an_address_is_found_however_it_is_written(address: str) -> None:
    with pytest.raises(ReasonError, match="contains an address"):
        read_reason(f"asked by {address}")


@pytest.mark.parametrize("reason", ["a wrong date", "100 % of links & images", "a < b &lt; c"])
def test_other_reasons_are_kept_as_they_were_typed(reason: str) -> None:
    assert read_reason(f"  {reason}\n") == reason
