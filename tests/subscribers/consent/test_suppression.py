"""The row of an address that counts: the gravest since it was last removed from the list, regardless of order."""

import re
from itertools import permutations

import pytest
from sqlalchemy import func, select

from digest.store.engine import Database
from subscribers.address import read_address
from subscribers.consent import suppression
from subscribers.crypto.keys import KeyRing
from subscribers.crypto.stored_addresses import hash_addresses
from subscribers.store.models import Suppression
from tests.conftest import ROOT
from tests.moments import AFTER_RELEASE as NOW

KEYS = KeyRing.from_seed(b"suppression tests")
ADA = read_address("ada@example.org")
HASHES = hash_addresses(KEYS, [ADA], ())[0].suppressions
REASONS: tuple[suppression.SuppressionReason, ...] = ("left elsewhere", "bounced", "complained")


def _counting_reason(database: Database) -> str:
    with database.read() as session:
        row = suppression.find_suppression(session, KEYS, ADA)
    return row.reason if row else ""


def _suppress(database: Database, reason: suppression.SuppressionReason) -> bool:
    with database.write() as session:
        return suppression.suppress_hashes(session, HASHES, reason, NOW)


@pytest.mark.takes_turns
def test_the_gravest_reason_counts_in_whatever_order_they_come(database: Database) -> None:
    for order in permutations(REASONS):
        for reason in order:
            _suppress(database, reason)
        assert _counting_reason(database) == "complained"
        with database.write() as session:
            suppression.lift_suppression(session, KEYS, ADA, now=NOW)
        assert _counting_reason(database) == ""


def test_what_changes_nothing_writes_no_row(one_database: Database) -> None:
    with one_database.write() as session:
        suppression.lift_suppression(session, KEYS, ADA, now=NOW)
    assert (
        _suppress(one_database, "complained"),
        _suppress(one_database, "bounced"),
        _suppress(one_database, "complained"),
    ) == (True, False, False)
    with one_database.read() as session:
        assert session.scalar(select(func.count()).select_from(Suppression)) == 1


def test_who_may_ask_again_is_suppressed_until_then_and_by_what_comes_after(one_database: Database) -> None:
    _suppress(one_database, "complained")
    with one_database.write() as session:
        assert suppression.allow_suppressed_signup(session, KEYS, ADA, now=NOW)
    assert _counting_reason(one_database) == suppression.ALLOWED_AGAIN
    assert _suppress(one_database, "bounced")
    assert _counting_reason(one_database) == "bounced"


def test_rows_under_the_departure_logs_hash_and_an_older_key_count_with_the_others(one_database: Database) -> None:
    with one_database.write() as session:
        suppression.suppress_hashes(session, HASHES[:1], "complained", NOW)
    assert not _suppress(one_database, "bounced")
    newer = KEYS.with_new_key("suppression")
    with one_database.write() as session:
        suppression.lift_suppression(session, newer, ADA, now=NOW)
        assert suppression.find_suppression(session, newer, ADA) is None


@pytest.mark.parametrize("first", ["bounced", "complained"])
def test_of_two_that_are_written_at_once_the_graver_counts(
    postgresql: Database, first: suppression.SuppressionReason
) -> None:
    second: suppression.SuppressionReason = "complained" if first == "bounced" else "bounced"
    with postgresql.write() as one:
        suppression.suppress_hashes(one, HASHES, first, NOW)
        with postgresql.write() as other:  # does not see the first, which has not committed
            assert suppression.suppress_hashes(other, HASHES, second, NOW)
    assert _counting_reason(postgresql) == "complained"


def test_hashes_to_check_are_computed_in_one_place_which_knows_the_adopted_keys() -> None:
    """Except in the dry run of an adoption: it has the keys of a file that isn't adopted yet."""
    texts = {
        file.stem: file.read_text("utf-8")
        for package in ("subscribers", "digest")
        for file in (ROOT / package).rglob("*.py")
    }
    calls = {name for name, text in texts.items() if "stored_addresses.hash_addresses(" in text}
    imports = [names for text in texts.values() for names in re.findall(r"stored_addresses import (\([^)]*|.*)", text)]
    assert calls == {"suppression", "suppression_adoption"}
    assert [names for names in imports if "hash_address" in names] == []
